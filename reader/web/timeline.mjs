// SPDX-License-Identifier: MIT
// Memory over time: the live heap (as one area, or stacked by kind of memory), resident memory, the peak, marks, and
// below them how much was allocated.  The figures under the pointer are read out beside it.  Dragging selects a window
// of time, a click an instant (brush.mjs).  In a page of differences the other run's line lies over this one's, both
// from the start: in another colour, dashed, with its name beside its end.
import { Brush } from './brush.mjs';
import { joinStretches } from './gaps.mjs';
import { axisTicks, formatBytes, formatTime } from './units.mjs';

export const MAPPED = 2;
export const ARENA = 3;
const RATE_HEIGHT = 22;
const BAR_WIDTH = 5;
const AXIS_WIDTH = 62;
const AXIS_HEIGHT = 18;
const TOP = 10;
const RIGHT = 12;
const NAMED_ENDS_WIDTH = 600;
const PEAK_ROOM = 130;

// The highest of what is drawn, so that the scale has room for all of it.
export function timelineMaximum(timeline, withResident, lines = []) {
	let max = 0;
	for (let i = 0; i < timeline.count; i++)
		max = Math.max(max, timeline.live[i], timeline.liveMax[i], withResident ? timeline.resident[i] : 0);
	for (const line of lines)
		max = timeline.domains[line].reduce((most, bytes) => Math.max(most, bytes), max);
	return max;
}

// The kinds of memory that add up to `live`, for stacking: those with bytes at any point, of the counted ones.
export function stackedDomains(timeline, counted) {
	return counted.filter((domain) => timeline.domains[domain].some((bytes) => bytes > 0));
}

// The point that was current at a time: the last one that is not later, or the first.
export function pointAt(timeline, time) {
	let from = 0;
	let to = timeline.count;
	while (from < to) {
		const middle = (from + to) >>> 1;
		if (timeline.time[middle] > time)
			to = middle;
		else
			from = middle + 1;
	}
	return Math.max(0, from - 1);
}

export function nearestPoint(timeline, time) {
	const i = pointAt(timeline, time);
	return i + 1 < timeline.count && timeline.time[i + 1] - time < time - timeline.time[i] ? i + 1 : i;
}

// Seconds, minutes or hours: round steps for an axis of time.
export function timeTicks(from, to, count) {
	const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7,
		2e7, 3e7, 6e7, 12e7, 3e8, 6e8, 12e8, 18e8, 36e8, 72e8, 216e8, 432e8, 864e8, 1728e8, 6048e8];
	const step = steps.find((candidate) => (to - from) / candidate <= count) || (to - from) / count;
	const ticks = [];
	for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step)
		ticks.push(tick);
	return ticks;
}

// Where the names of lines go that end at these heights, so that none covers another: [[y, ...]] from the top.
export function spreadLabels(heights, gap, top, bottom) {
	const order = heights.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0]);
	const placed = [];
	let least = top;
	for (const [y, i] of order) {
		placed[i] = Math.max(least, y);
		least = placed[i] + gap;
	}
	const over = Math.max(0, least - gap - bottom);
	return placed.map((y) => y - over);
}

// One line that rises to the right, from the bottom at x, as far as it lies between left and right.
function hatch(context, x, { top, bottom }, left, right) {
	const from = Math.max(x, left);
	const to = Math.min(x + bottom - top, right);
	if (to > from) {
		context.moveTo(from, bottom - (from - x));
		context.lineTo(to, bottom - (to - x));
	}
}

export class Timeline {
	// events: onHover(point or -1, x, y), onWindow(window or null, whether it is a step of its own for Back)
	constructor(canvas, events) {
		Object.assign(this, { canvas, events, hovered: -1, stacked: false, resident: true, arena: false, mapped: false,
			scheduled: false, choosesBefore: false, windows: { after: null, before: null } });
		this.brush = new Brush(this);
		this.context = canvas.getContext('2d', { alpha: false });
		canvas.addEventListener('pointermove', (event) => this.point(event));
		canvas.addEventListener('pointerleave', () => this.hover(-1));
		canvas.addEventListener('keydown', (event) => this.key(event));
		canvas.addEventListener('blur', () => this.hover(-1));
		new ResizeObserver(() => this.draw()).observe(canvas);
	}

	show(report, counted) {
		this.report = report;
		this.timeline = report.timeline;
		this.peak = report.meta.total[2];
		this.domains = stackedDomains(this.timeline, counted);
		this.before = report.timelineBefore;
		this.beforeRun = report.meta.before_run;
		this.peakBefore = report.meta.before?.[2];
		const last = this.timeline.count ? this.timeline.time[this.timeline.count - 1] : 0;
		this.end = Math.max(report.meta.duration_us, last, this.beforeRun?.duration_us ?? 0, 1);
		this.schedule();
	}

	// That which the brush moves.
	get window() {
		return this.windows[this.choosesBefore ? 'before' : 'after'];
	}

	setTheme(palette) {
		this.palette = palette;
		this.schedule();
	}

	schedule() {
		if (this.scheduled)
			return;
		this.scheduled = true;
		requestAnimationFrame(() => {
			this.scheduled = false;
			this.draw();
		});
	}

	xOf(time) {
		return AXIS_WIDTH + time / this.end * (this.width - AXIS_WIDTH - RIGHT);
	}

	yOf(bytes) {
		return this.bottom - bytes / this.max * (this.bottom - TOP);
	}

	draw() {
		if (!this.timeline || !this.palette)
			return;
		const { canvas } = this;
		const ratio = devicePixelRatio || 1;
		this.width = canvas.clientWidth;
		this.height = canvas.clientHeight;
		if (canvas.width !== Math.round(this.width * ratio) || canvas.height !== Math.round(this.height * ratio)) {
			canvas.width = Math.round(this.width * ratio);
			canvas.height = Math.round(this.height * ratio);
		}
		this.paint(ratio);
	}

	// For a picture; context: of a canvas, or svg.mjs's.
	picture(context) {
		const copy = Object.create(this);
		Object.assign(copy, { context, hovered: -1, brush: Object.create(this.brush) });
		copy.brush.timeline = copy;
		copy.paint(1);
	}

	paint(ratio) {
		const { context, palette, timeline } = this;
		this.bottom = this.height - AXIS_HEIGHT - RATE_HEIGHT - 4;
		const lines = [[this.arena, ARENA], [this.mapped, MAPPED]].filter(([shown]) => shown).map(([, domain]) => domain);
		const peak = Math.max(timelineMaximum(timeline, this.resident, lines),
			this.before ? timelineMaximum(this.before, this.resident) : 0);
		this.max = Math.max(peak * 1.06, 1);
		context.setTransform(ratio, 0, 0, ratio, 0, 0);
		context.fillStyle = palette.paper;
		context.fillRect(0, 0, this.width, this.height);
		context.font = '11px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
		this.drawAxes(peak);
		this.drawGaps();
		if (timeline.count) {
			if (this.stacked)
				this.drawStack();
			else
				this.drawLive();
			if (this.resident)
				this.drawLine(timeline.resident, palette.resident, [4, 3]);
			for (const domain of lines)
				this.drawLine(timeline.domains[domain], palette.domains[domain], [2, 2]);
			if (this.before)
				this.drawBefore();
			this.drawRate();
			this.brush.shade();
			this.drawMarks();
			const { peak_time_us: peakTime } = this.report.meta;
			if (this.before)
				this.drawPeak(this.peak, peakTime, palette.live, 'after: peak ' + this.about(), -12);
			else if (this.report.meta.window?.peak?.low !== this.peak)
				this.drawPeak(this.peak, peakTime, palette.peak, 'peak ' + this.about());
		}
		this.brush.draw();
		if (this.hovered >= 0)
			this.drawCross();
	}

	timeAt(clientX) {
		const share = (clientX - this.canvas.getBoundingClientRect().left - AXIS_WIDTH) / (this.width - AXIS_WIDTH - RIGHT);
		return Math.min(1, Math.max(0, share)) * this.end;
	}

	// What is drawn in, in pixels of the canvas.
	get plot() {
		return { left: AXIS_WIDTH, right: this.width - RIGHT, top: TOP, bottom: this.height - AXIS_HEIGHT };
	}

	drawAxes(peak) {
		const { context, palette } = this;
		context.textBaseline = 'middle';
		context.textAlign = 'right';
		for (const tick of axisTicks(peak, Math.max(2, Math.floor((this.bottom - TOP) / 19)), true)) {
			const y = Math.round(this.yOf(tick)) + 0.5;
			context.fillStyle = palette.grid;
			context.fillRect(AXIS_WIDTH, y - 0.5, this.width - AXIS_WIDTH - RIGHT, 1);
			context.fillStyle = palette.axis;
			context.fillText(formatBytes(tick), AXIS_WIDTH - 8, y);
		}
		context.textBaseline = 'alphabetic';
		context.textAlign = 'center';
		for (const tick of timeTicks(0, this.end, Math.max(2, Math.floor((this.width - AXIS_WIDTH) / 90)))) {
			const x = this.xOf(tick);
			const text = tick === 0 ? '0' : formatTime(tick);
			context.fillStyle = palette.grid;
			context.fillRect(Math.round(x), TOP, 1, this.height - AXIS_HEIGHT - TOP);
			context.fillStyle = palette.axis;
			if (x + context.measureText(text).width / 2 < this.width)
				context.fillText(text, x, this.height - 5);
		}
	}

	// Hatched: where nothing was recorded.  A line along the top: since when there is a sample only.
	drawGaps() {
		const { context, palette, plot, report: { meta } } = this;
		const scale = this.end / (plot.right - plot.left);
		context.strokeStyle = context.fillStyle = palette.axis;
		context.lineWidth = 1;
		for (const [from, to] of joinStretches((meta.gaps ?? []).map((gap) => gap.slice(1, 3)), scale)) {
			const left = this.xOf(from);
			const width = Math.max(2, this.xOf(to) - left);
			context.globalAlpha = 0.14;
			context.fillRect(left, plot.top, width, plot.bottom - plot.top);
			context.globalAlpha = 1;
			context.beginPath();
			for (let x = left - (plot.bottom - plot.top); x < left + width; x += 7)
				hatch(context, x, plot, left, left + width);
			context.stroke();
		}
		const steps = (meta.sample_steps ?? []).map(([, , time]) => this.xOf(time));
		if (steps.length)
			context.fillRect(Math.min(...steps), 2, plot.right - Math.min(...steps), 2);
		for (const x of steps)
			context.fillRect(x, 0, 2, 6);
	}

	tracePath(values, reversed = null, timeline = this.timeline) {
		const { context } = this;
		context.beginPath();
		for (let i = 0; i < timeline.count; i++)
			context.lineTo(this.xOf(timeline.time[i]), this.yOf(values[i]));
		if (reversed) {
			for (let i = timeline.count - 1; i >= 0; i--)
				context.lineTo(this.xOf(timeline.time[i]), this.yOf(reversed[i]));
		}
	}

	drawLine(values, colour, dash = [], timeline = this.timeline) {
		this.context.strokeStyle = colour;
		this.context.lineWidth = 1.5;
		this.context.lineJoin = 'round';
		this.context.setLineDash(dash);
		this.tracePath(values, null, timeline);
		this.context.stroke();
		this.context.setLineDash([]);
	}

	drawArea(upper, lower, colour, opacity) {
		this.context.fillStyle = colour;
		this.context.globalAlpha = opacity;
		this.tracePath(upper, lower);
		this.context.fill();
		this.context.globalAlpha = 1;
	}

	// The area is what was live at each point, the line its maximum since the point before: no spike is lost.
	drawLive() {
		const zero = new Float64Array(this.timeline.count);
		this.drawArea(this.timeline.liveMax, zero, this.palette.live, 0.1);
		this.drawArea(this.timeline.live, zero, this.palette.live, 0.16);
		this.drawLine(this.timeline.liveMax, this.palette.live);
	}

	drawStack() {
		let lower = new Float64Array(this.timeline.count);
		for (const domain of this.domains) {
			const upper = lower.map((bytes, i) => bytes + this.timeline.domains[domain][i]);
			this.drawArea(upper, lower, this.palette.domains[domain], 0.72);
			lower = upper;
		}
		this.drawLine(this.timeline.liveMax, this.palette.live);
	}

	// The run compared with: a dashed line over this one's, and the names of both at their ends.
	drawBefore() {
		const { before, timeline, palette, context } = this;
		if (this.resident && before.resident.some((bytes) => bytes > 0))
			this.drawLine(before.resident, palette.before, [1, 3], before);
		this.drawLine(before.liveMax, palette.before, [7, 3], before);
		// Where there is little room, and where the peak is near the end, the peak alone is named.
		const { peak_time_us: peakTime } = this.report.meta;
		const ends = [[timeline, 'after', palette.live, peakTime],
			[before, 'before', palette.before, this.beforeRun.peak_time_us]].filter(([{ count, time }, , , peak]) =>
			count && this.width >= NAMED_ENDS_WIDTH && this.xOf(time[count - 1]) - this.xOf(peak) > PEAK_ROOM);
		const heights = ends.map(([line]) => this.yOf(line.live[line.count - 1]) - 7);
		const places = spreadLabels(heights, 12, TOP + 4, this.bottom - 5);
		context.textBaseline = 'middle';
		context.textAlign = 'right';
		context.lineWidth = 3;
		context.strokeStyle = palette.paper;
		ends.forEach(([line, name, colour], i) => {
			const x = this.xOf(line.time[line.count - 1]) - 4;
			context.fillStyle = colour;
			context.strokeText(name, Math.max(x, AXIS_WIDTH + 40), places[i]);
			context.fillText(name, Math.max(x, AXIS_WIDTH + 40), places[i]);
		});
		context.textBaseline = 'alphabetic';
		this.drawPeak(this.peakBefore, this.beforeRun.peak_time_us, palette.before,
			'before: peak ' + this.about(this.beforeRun), 12);
	}

	drawRate() {
		const { context, timeline, palette } = this;
		// In bars of some pixels: clocks are coarser than points in a short run, and single points would be a comb.
		const bars = new Float64Array(Math.max(1, Math.floor((this.width - AXIS_WIDTH - RIGHT) / BAR_WIDTH)));
		for (let i = 0; i < timeline.count; i++)
			bars[Math.min(bars.length - 1, Math.floor(timeline.time[i] / this.end * bars.length))] += timeline.allocatedBytes[i];
		const max = bars.reduce((most, bytes) => Math.max(most, bytes), 1);
		const base = this.height - AXIS_HEIGHT;
		context.fillStyle = palette.rate;
		bars.forEach((bytes, i) => {
			const height = bytes / max * RATE_HEIGHT;
			context.fillRect(AXIS_WIDTH + i * BAR_WIDTH, base - height, BAR_WIDTH - 1, height);
		});
		context.fillStyle = palette.axis;
		context.textAlign = 'right';
		context.fillText('rate', AXIS_WIDTH - 8, base - 6);
	}

	drawMarks() {
		const { context, palette } = this;
		context.fillStyle = palette.mark;
		for (const [time] of this.report.meta.marks.slice(0, 1000)) {
			const x = Math.round(this.xOf(time));
			context.globalAlpha = 0.55;
			context.fillRect(x, TOP, 1, this.height - AXIS_HEIGHT - TOP);
			context.globalAlpha = 1;
			context.beginPath();
			context.moveTo(x - 3.5, TOP - 5);
			context.lineTo(x + 4.5, TOP - 5);
			context.lineTo(x + 0.5, TOP + 1);
			context.fill();
		}
	}

	// Of a sample, figures that have no interval here are called estimates.
	about(run = this.report.meta) {
		return run.sample ? '≈ ' : '';
	}

	// drop: 0: the text stands beside the dot; else so far below it, because another line's may be beside it.
	drawPeak(peak, time, colour, name, drop = 0) {
		const { context, palette } = this;
		if (!peak)
			return;
		const x = this.xOf(time);
		const y = this.yOf(Math.min(peak, this.max));
		context.fillStyle = colour;
		context.strokeStyle = palette.paper;
		context.lineWidth = 2;
		context.beginPath();
		context.arc(x, y, 4, 0, 2 * Math.PI);
		context.stroke();
		context.fill();
		const text = name + formatBytes(peak);
		const room = context.measureText(text).width + 10;
		context.textAlign = x + room > this.width ? 'right' : 'left';
		context.textBaseline = 'middle';
		const textX = x + (drop ? 0 : 9) * (x + room > this.width ? -1 : 1);
		const textY = Math.max(drop ? y + drop : x + room > this.width ? y - 9 : y, TOP);
		context.lineWidth = 3;
		context.strokeText(text, textX, textY);
		context.fillText(text, textX, textY);
		context.textBaseline = 'alphabetic';
	}

	drawCross() {
		const { context, palette, timeline } = this;
		const x = this.xOf(timeline.time[this.hovered]);
		context.fillStyle = palette.axis;
		context.fillRect(Math.round(x), TOP, 1, this.height - AXIS_HEIGHT - TOP);
		if (this.before) {
			const other = pointAt(this.before, timeline.time[this.hovered]);
			context.fillStyle = palette.before;
			context.fillRect(x - 2.5, this.yOf(this.before.live[other]) - 2.5, 5, 5);
		}
		for (const [values, colour] of [[timeline.live, palette.live], [timeline.resident, palette.resident]]) {
			if (values === timeline.resident && (!this.resident || !values[this.hovered]))
				continue;
			context.fillStyle = colour;
			context.beginPath();
			context.arc(x, this.yOf(values[this.hovered]), 3, 0, 2 * Math.PI);
			context.fill();
		}
	}

	point(event) {
		if (!this.timeline?.count)
			return;
		this.hover(nearestPoint(this.timeline, this.timeAt(event.clientX)), event.clientX, event.clientY);
	}

	hover(point, x = 0, y = 0) {
		if (point !== this.hovered) {
			this.hovered = point;
			this.schedule();
		}
		this.events.onHover(point, x, y);
	}

	key(event) {
		if (this.timeline?.count && this.brush.key(event)) {
			event.preventDefault();
			event.stopPropagation();
			return;
		}
		if (!this.timeline?.count || (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight'))
			return;
		event.preventDefault();
		const step = (event.key === 'ArrowLeft' ? -1 : 1) * (event.shiftKey ? 10 : 1);
		const from = this.hovered < 0 ? nearestPoint(this.timeline, this.report.meta.peak_time_us) : this.hovered + step;
		const point = Math.min(this.timeline.count - 1, Math.max(0, from));
		const box = this.canvas.getBoundingClientRect();
		this.hover(point, box.left + this.xOf(this.timeline.time[point]), box.top + 20);
	}
}
