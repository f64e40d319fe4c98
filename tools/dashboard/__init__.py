"""A page that shows a fleet of agents as they are now; itself nothing but an MQTT subscriber."""
