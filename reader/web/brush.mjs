// SPDX-License-Identifier: MIT
// Choosing a window of time, or an instant, on the time line.  Drag: a window; its ends and itself can be dragged on.
// Click: an instant, whose line can be dragged.  What is chosen lies on borders between slices (slices.mjs).
import { formatBorder, nearestBorder, sliceStart } from './slices.mjs';

const NEAR = 6;
const CLICK = 4;

export class Brush {
	constructor(timeline) {
		this.timeline = timeline;
		this.drag = null;
		const { canvas } = timeline;
		canvas.addEventListener('pointerdown', (event) => this.press(event));
		canvas.addEventListener('pointermove', (event) => this.move(event));
		canvas.addEventListener('pointerup', (event) => this.release(event));
		canvas.addEventListener('pointercancel', () => this.stop());
		canvas.addEventListener('dblclick', () => this.choose(null, true));
	}

	get slices() {
		const { report, choosesBefore } = this.timeline;
		return choosesBefore ? report?.slicesBefore : report?.slices;
	}

	get usable() {
		return this.slices?.count > 0 && this.timeline.timeline.count > 0;
	}

	choose(window, step) {
		this.timeline.events.onWindow(window, step);
	}

	// The window between two borders (-1: the start); never empty.
	between(a, b) {
		const last = this.slices.count - 1;
		const from = Math.min(Math.min(a, b) + 1, last);
		return { from, to: Math.max(from, Math.max(a, b)), instant: false };
	}

	instantAt(border) {
		return { from: 0, to: Math.max(0, border), instant: true };
	}

	// What a press at x would take hold of.
	grip(clientX) {
		const { timeline, slices } = this;
		const { window } = timeline;
		if (!window)
			return 'new';
		const x = clientX - timeline.canvas.getBoundingClientRect().left;
		const to = timeline.xOf(slices.end[window.to]);
		if (window.instant)
			return Math.abs(x - to) <= NEAR ? 'instant' : 'new';
		const from = timeline.xOf(sliceStart(slices, window.from));
		if (Math.min(Math.abs(x - from), Math.abs(x - to)) <= NEAR)
			return Math.abs(x - from) < Math.abs(x - to) ? 'from' : 'to';
		return x > from && x < to ? 'whole' : 'new';
	}

	press(event) {
		if (!this.usable || event.button !== 0)
			return;
		const border = nearestBorder(this.slices, this.timeline.timeAt(event.clientX));
		this.drag = { grip: this.grip(event.clientX), x: event.clientX, border, window: this.timeline.window, moved: false,
			step: true };
		this.timeline.canvas.setPointerCapture(event.pointerId);
	}

	move(event) {
		const { drag, timeline } = this;
		if (!drag) {
			if (this.usable)
				timeline.canvas.style.cursor = { new: 'crosshair', whole: 'grab' }[this.grip(event.clientX)] || 'ew-resize';
			return;
		}
		if (!drag.moved && Math.abs(event.clientX - drag.x) < CLICK)
			return;
		drag.moved = true;
		const border = nearestBorder(this.slices, timeline.timeAt(event.clientX));
		this.choose(this.dragged(border), drag.step);
		// The whole drag is one step for Back.
		drag.step = false;
	}

	dragged(border) {
		const { drag, slices } = this;
		const { grip, window } = drag;
		if (grip === 'new')
			return this.between(drag.border, border);
		if (grip === 'instant')
			return this.instantAt(border);
		if (grip === 'from')
			return this.between(border, window.to);
		if (grip === 'to')
			return this.between(window.from - 1, border);
		const shift = Math.max(-window.from, Math.min(slices.count - 1 - window.to, border - drag.border));
		return { from: window.from + shift, to: window.to + shift, instant: false };
	}

	release() {
		const { drag } = this;
		this.stop();
		if (drag && !drag.moved)
			this.choose(this.instantAt(drag.border), true);
	}

	stop() {
		this.drag = null;
	}

	// true: the key was for us.  The border is that of the point under the cross, or else of what is chosen.
	key(event) {
		if (!this.usable)
			return false;
		const { timeline, slices } = this;
		const { window } = timeline;
		const last = slices.count - 1;
		const border = timeline.hovered >= 0 ? nearestBorder(slices, timeline.timeline.time[timeline.hovered]) :
			window ? window.to : last;
		if (event.key === 'Enter' || event.key === ' ')
			this.choose(this.instantAt(border), true);
		else if (event.key === '[')
			this.choose(this.between(border, window && window.to > border ? window.to : last), true);
		else if (event.key === ']')
			this.choose(this.between(window?.from <= border ? window.from - 1 : -1, border), true);
		else if (event.key === 'Escape' && window)
			this.choose(null, true);
		else
			return false;
		return true;
	}

	// What is outside the window is faint.
	shade() {
		const { timeline, slices } = this;
		const { window, context, palette, plot } = timeline;
		if (!window || !this.usable)
			return;
		const from = timeline.xOf(sliceStart(slices, window.from));
		const to = timeline.xOf(slices.end[window.to]);
		context.globalAlpha = 0.72;
		context.fillStyle = palette.paper;
		context.fillRect(plot.left, plot.top - 8, from - plot.left, plot.bottom - plot.top + 8);
		context.fillRect(to, plot.top - 8, plot.right - to + 12, plot.bottom - plot.top + 8);
		context.globalAlpha = 1;
	}

	// In a page of differences the other run's window, where it is another: dashed, in that run's colour.
	drawOther() {
		const { choosesBefore, windows, report, palette, plot, context } = this.timeline;
		const { before, after } = windows;
		if (!before || !after || report.meta.window.title === report.meta.window.before?.title)
			return;
		const [other, slices] = choosesBefore ? [after, report.slices] : [before, report.slicesBefore];
		context.strokeStyle = choosesBefore ? palette.live : palette.before;
		context.lineWidth = 1.5;
		context.setLineDash([5, 3]);
		context.beginPath();
		for (const time of other.instant ? [slices.end[other.to]] : [sliceStart(slices, other.from), slices.end[other.to]]) {
			const x = Math.round(this.timeline.xOf(time));
			context.moveTo(x, plot.top);
			context.lineTo(x, plot.bottom);
		}
		context.stroke();
		context.setLineDash([]);
	}

	draw() {
		const { timeline, slices } = this;
		const { window, palette, plot, context } = timeline;
		if (!window || !this.usable)
			return;
		this.drawOther();
		const to = timeline.xOf(slices.end[window.to]);
		const ends = window.instant ? [to] : [timeline.xOf(sliceStart(slices, window.from)), to];
		context.fillStyle = timeline.choosesBefore ? palette.before : palette.live;
		if (!window.instant) {
			context.globalAlpha = 0.1;
			context.fillRect(ends[0], plot.top, to - ends[0], plot.bottom - plot.top);
			context.globalAlpha = 1;
		}
		for (const x of ends) {
			context.fillRect(Math.round(x) - 0.75, plot.top, 1.5, plot.bottom - plot.top);
			context.beginPath();
			context.roundRect(Math.round(x) - 3.5, (plot.top + plot.bottom) / 2 - 9, 7, 18, 3.5);
			context.fill();
		}
		const { peak } = timeline.report.meta.window ?? {};
		if (peak && peak.low === peak.high && !timeline.before)
			timeline.drawPeak(peak.low, peak.time, palette.peak, 'highest ' + timeline.about(), 0);
		if (window.instant)
			this.drawLabel(to, formatBorder(slices, slices.end[window.to]));
	}

	drawLabel(x, text) {
		const { context, palette, plot } = this.timeline;
		const width = context.measureText(text).width + 12;
		const left = Math.min(Math.max(plot.left, x - width / 2), plot.right - width);
		context.fillStyle = this.timeline.choosesBefore ? palette.before : palette.live;
		context.beginPath();
		context.roundRect(left, plot.top - 9, width, 15, 4);
		context.fill();
		context.fillStyle = palette.paper;
		context.textAlign = 'center';
		context.textBaseline = 'middle';
		context.fillText(text, left + width / 2, plot.top - 1);
		context.textBaseline = 'alphabetic';
	}
}
