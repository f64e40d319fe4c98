"""Self-contained HTML reports with sections, charts and tables, independent of detection."""
