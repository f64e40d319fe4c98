// Charts of channels in a column: value, expected value, normal range, and error relative to its limit.
// The data come from untrusted nodes: they are drawn as text and on canvases, never as HTML.
import { echarts } from "nicegui-echart";

const MOST_ROWS = 1800;
const FEWEST_MS = 5000;
const STRONGEST = 4;
const COLUMNS = ["value", "expected", "lower", "upper", "strength", "anomalous"];

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hourCycle: "h23" });

function short(number, digits = 3) {
  if (number === null || number === undefined) return "–";
  const [factor, prefix] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([f]) => Math.abs(number) >= 10 * f) ?? [1, ""];
  return `${Number((number / factor).toPrecision(digits))}${prefix && " " + prefix}`;
}

export default {
  template: `
    <div class="ew-plots" @keydown="onKey">
      <section v-for="head in heads" :key="head.name" class="ew-plot" tabindex="0" role="group"
        :aria-label="head.name + ': ' + head.value + ', expected ' + head.expected + (head.anomalous ? ', anomalous' : '')">
        <h3><span class="ew-name">{{ head.name }}</span>
          <span class="ew-now" :class="{ 'ew-bad': head.anomalous }">{{ head.value }}</span>
          <span class="ew-dim">expected {{ head.expected }}</span>
          <span v-if="head.anomalous" class="ew-bad">▲ anomalous</span></h3>
        <div class="ew-chart" aria-hidden="true" :data-channel="head.name"></div>
      </section>
    </div>`,

  data: () => ({ heads: [] }),

  created() {
    this.courses = new Map();
    this.charts = new Map();
    this.spans = new Map();
    this.waiting = new Set();
    this.frame = 0;
    this.newest = 0;
    this.rangeMs = 300_000;
    this.fixedWindow = null; // the time window in milliseconds set by zoom or pan; null while live
  },

  mounted() {
    // For the tests, which read the charts through this property.
    this.$el.plot = this;
    this.resizing = new ResizeObserver((entries) => entries.forEach(({ target }) => target.chart?.resize()));
    this.theming = new MutationObserver(() => this.restyle());
    this.theming.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  },

  beforeUnmount() {
    this.resizing.disconnect();
    this.theming.disconnect();
    cancelAnimationFrame(this.frame);
    this.charts.forEach((chart) => chart.dispose());
  },

  methods: {
    // Replaces the charts: [{name, unit}], with the history of each in `columns`.
    async show(channels, columns) {
      this.courses = new Map(
        channels.map(({ name, unit }) => [
          name,
          { unit: unit.replace(/[{}|]/g, ""), time: [], ...Object.fromEntries(COLUMNS.map((key) => [key, []])) },
        ]),
      );
      this.heads = channels.map(({ name }) => ({ name, value: "–", expected: "–", anomalous: false }));
      await this.$nextTick();
      for (const [name, chart] of this.charts) {
        if (this.courses.has(name) && chart.getDom().isConnected) continue;
        this.resizing.unobserve(chart.getDom());
        chart.dispose();
        this.charts.delete(name);
      }
      for (const element of this.$el.querySelectorAll(".ew-chart")) {
        const name = element.dataset.channel;
        if (this.charts.has(name)) continue;
        const chart = echarts.init(element);
        element.chart = chart;
        chart.setOption(this.frameOf(name));
        chart.on("datazoom", () => this.hold(chart.getOption().dataZoom[0]));
        this.charts.set(name, chart);
        this.resizing.observe(element);
      }
      this.add(columns, {});
    },

    // Appends new readings, {name: {time, value, …}}, and updates the texts of each channel.
    add(columns, texts) {
      for (const [name, rows] of Object.entries(columns)) {
        const course = this.courses.get(name);
        if (!course) continue;
        for (const key of ["time", ...COLUMNS]) {
          for (const number of rows[key]) course[key].push(number);
          if (course[key].length > MOST_ROWS) course[key].splice(0, course[key].length - MOST_ROWS);
        }
        if (rows.time.length) this.newest = Math.max(this.newest, 1000 * rows.time.at(-1));
        this.draw(name);
      }
      for (const head of this.heads) Object.assign(head, texts[head.name]);
    },

    // Shades the times of incidents: {name: [[from, to or null], …]}.
    shade(spans) {
      this.spans = new Map(Object.entries(spans));
      this.drawAll();
    },

    // Follows the newest readings again, with this many seconds visible.
    follow(seconds) {
      this.rangeMs = 1000 * seconds;
      this.fixedWindow = null;
      this.drawAll();
    },

    hold(zoomed) {
      const [from, to] = this.window();
      this.fixedWindow = [zoomed?.startValue ?? from, zoomed?.endValue ?? to];
      this.$emit("hold");
      this.drawAll();
    },

    zoom(factor) {
      const [from, to] = this.window();
      const half = Math.max((factor * (to - from)) / 2, FEWEST_MS / 2);
      this.hold({ startValue: (from + to) / 2 - half, endValue: (from + to) / 2 + half });
    },

    pan(part) {
      const [from, to] = this.window();
      this.hold({ startValue: from + part * (to - from), endValue: to + part * (to - from) });
    },

    onKey(event) {
      const does = {
        "+": () => this.zoom(0.5),
        "=": () => this.zoom(0.5),
        "-": () => this.zoom(2),
        ArrowLeft: () => this.pan(-0.25),
        ArrowRight: () => this.pan(0.25),
      }[event.key];
      if (!does || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      does();
    },

    window() {
      return this.fixedWindow ?? [this.newest - this.rangeMs, this.newest];
    },

    // Draws one chart a frame, so that the page stays responsive.
    draw(name) {
      this.waiting.add(name);
      if (!this.frame) this.frame = requestAnimationFrame(this.drawNext);
    },

    drawAll() {
      for (const name of this.courses.keys()) this.draw(name);
    },

    drawNext() {
      const [name] = this.waiting;
      this.waiting.delete(name);
      this.frame = this.waiting.size ? requestAnimationFrame(this.drawNext) : 0;
      const chart = this.charts.get(name);
      const course = this.courses.get(name);
      if (chart && course) chart.setOption(this.contentOf(name, course), { silent: true });
    },

    restyle() {
      for (const [name, chart] of this.charts) chart.setOption(this.frameOf(name));
      this.drawAll();
    },

    // Fixed options of a chart.
    frameOf(name) {
      const style = getComputedStyle(this.$el);
      const colour = (key) => style.getPropertyValue(`--ew-${key}`).trim();
      const line = (extra) => ({ type: "line", showSymbol: false, animation: false, silent: true, ...extra });
      const axis = { axisLine: { lineStyle: { color: colour("line") } }, axisLabel: { color: colour("dim"), hideOverlap: true } };
      const split = { splitLine: { lineStyle: { color: colour("grid") } } };
      const bare = { opacity: 0, width: 0 };
      return {
        animation: false,
        grid: [
          { left: 56, right: 20, top: 8, height: 116, outerBoundsMode: "none" },
          { left: 56, right: 20, top: 136, height: 36, outerBoundsMode: "none" },
        ],
        axisPointer: { link: [{ xAxisIndex: "all" }] },
        tooltip: {
          trigger: "axis",
          renderMode: "richText",
          confine: true,
          backgroundColor: colour("card"),
          borderColor: colour("line"),
          textStyle: { color: colour("text"), fontSize: 12 },
          formatter: (points) => this.tip(name, points[0]?.axisValue),
        },
        dataZoom: [
          { type: "inside", xAxisIndex: [0, 1], zoomOnMouseWheel: "ctrl", minValueSpan: FEWEST_MS, filterMode: "none" },
        ],
        xAxis: [
          { type: "time", gridIndex: 0, ...axis, axisLabel: { show: false }, splitLine: { show: false } },
          { type: "time", gridIndex: 1, ...axis, splitNumber: 4, axisLabel: { ...axis.axisLabel, formatter: (ms) => clock(ms) } },
        ],
        yAxis: [
          { type: "value", scale: true, gridIndex: 0, ...axis, ...split, splitNumber: 3, axisLabel: { ...axis.axisLabel, formatter: (number) => short(number, 6) } },
          { type: "value", min: 0, max: STRONGEST, interval: STRONGEST / 2, gridIndex: 1, ...axis, ...split },
        ],
        series: [
          line({ stack: "band", stackStrategy: "all", lineStyle: bare }),
          line({ stack: "band", stackStrategy: "all", lineStyle: bare, areaStyle: { color: colour("band") } }),
          line({ lineStyle: { color: colour("expected"), width: 1.5, type: "dashed" } }),
          line({
            lineStyle: { color: colour("value"), width: 1.5 },
            markArea: { silent: true, itemStyle: { color: colour("incident") }, data: [] },
          }),
          { type: "scatter", animation: false, silent: true, symbol: "diamond", symbolSize: 8, itemStyle: { color: colour("anomaly") } },
          line({
            xAxisIndex: 1,
            yAxisIndex: 1,
            lineStyle: { color: colour("score"), width: 1.5 },
            markLine: {
              silent: true,
              symbol: "none",
              label: { formatter: "limit", position: "insideStartTop", color: colour("dim"), fontSize: 10 },
              lineStyle: { color: colour("anomaly"), type: "dashed" },
              data: [{ yAxis: 1 }],
            },
          }),
        ],
      };
    },

    // Options of a chart that change with its data.
    contentOf(name, course) {
      const [from, to] = this.window();
      const times = course.time.map((seconds) => 1000 * seconds);
      const over = (numbers) => numbers.map((number, row) => [times[row], number]);
      const width = course.upper.map((upper, row) => {
        const lower = course.lower[row];
        return upper === null || lower === null ? null : upper - lower;
      });
      const bad = times.flatMap((time, row) => (course.anomalous[row] ? [[time, course.value[row]]] : []));
      const spans = (this.spans.get(name) ?? []).map(([begin, end]) => [
        { xAxis: 1000 * begin },
        { xAxis: end === null ? this.newest : 1000 * end },
      ]);
      const extent = { min: Math.min(times[0] ?? from, from), max: Math.max(this.newest, to) };
      return {
        xAxis: [extent, extent],
        dataZoom: [{ startValue: from, endValue: to }],
        series: [
          { data: over(course.lower) },
          { data: over(width) },
          { data: over(course.expected) },
          { data: over(course.value), markArea: { data: spans } },
          { data: bad },
          { data: over(course.strength.map((number) => number === null ? null : Math.min(number, STRONGEST))) },
        ],
      };
    },

    tip(name, ms) {
      const course = this.courses.get(name);
      const row = course?.time.findIndex((seconds) => 1000 * seconds >= ms - 0.5) ?? -1;
      if (row < 0) return "";
      const unit = course.unit && ` ${course.unit}`;
      return [
        clock(ms),
        `value ${short(course.value[row])}${unit}`,
        `expected ${short(course.expected[row])}${unit}`,
        `normal ${short(course.lower[row])} to ${short(course.upper[row])}${unit}`,
        `error ${short(course.strength[row])} × limit${course.anomalous[row] ? ", anomalous" : ""}`,
      ].join("\n");
    },
  },
};
