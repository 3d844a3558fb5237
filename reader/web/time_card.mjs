// SPDX-License-Identifier: MIT
// The card of the time line, above all views: the curve, what is read out under the pointer, its legend and switches,
// and the window or instant that all views then show.
import { ARENA, MAPPED, Timeline, pointAt } from './timeline.mjs';
import { byId, legendEntry } from './dom.mjs';
import { withLegend } from './picture.mjs';
import { stretchLegend, stretchTexts } from './gaps.mjs';
import { parseWindow, runBefore, sameWindow, windowInfo, windowOptions, windowText } from './slices.mjs';
import { formatBytes, formatExact, formatTime, shorten, visibleText } from './units.mjs';

// Whether what lived at a time of a run is an estimate.
function isSampledAt({ sample_steps: steps = [] }, time) {
	return steps.some(([, , since]) => since <= time);
}

// What the run compared with had at the same time since its start.
export function beforeText(timeline, run, time) {
	if (time > run.duration_us)
		return 'before: had ended';
	const point = pointAt(timeline, time);
	return 'before: live ' + (isSampledAt(run, time) ? '≈ ' : '') + formatBytes(timeline.live[point]) +
		(timeline.resident[point] ? ', resident ' + formatBytes(timeline.resident[point]) : '');
}

// The times of the chosen window; in a page of differences those of the run before where they are others.
export function windowTitle({ before, meta: { window } }) {
	if (!before || window.before?.title === window.title)
		return window.title;
	return window.title + ', before ' + (window.before ? window.before.title : 'had ended');
}

function peakWords({ low, high, time }, about) {
	if (low === high)
		return about + formatBytes(low) + ' at ' + formatTime(time);
	return high === Infinity ? 'at least ' + about + formatBytes(low) :
		'between ' + about + formatBytes(low) + ' and ' + formatBytes(high);
}

// Of all memory, whatever is filtered.  about: '≈ ' where it is an estimate.
export function windowPeakText({ meta: { window } }, about = '') {
	const peak = window?.peak;
	if (!peak)
		return '';
	return 'highest in the window ' + peakWords(peak, about) + (window.before?.peak ? ', before ' +
		peakWords(window.before.peak, about) : '');
}

function windowPeakTitle(report) {
	const { window } = report.meta;
	const { low, high } = window.peak;
	const bytes = low === high ? formatExact(low) : high === Infinity ? 'at least ' + formatExact(low) :
		'between ' + formatExact(low) + ' and ' + formatExact(high);
	return 'The most that lived at once in this window: ' + bytes +
		' bytes, whenever allocated, of all threads and kinds. That of what was allocated in it alone: sctmem stats ' +
		windowOptions(report, window);
}

export class TimeCard {
	constructor(app) {
		this.app = app;
		this.report = app.report;
		this.timeline = new Timeline(byId('time-canvas'), {
			onHover: (point) => this.readOut(point),
			onWindow: (window, step) => app.set(this.choice(window, step), step),
		});
		this.timeline.show(this.report, app.countedDomains);
		const { count, resident } = this.report.timeline;
		byId('time-empty').hidden = count > 0;
		byId('time-canvas').hidden = count === 0;
		this.timeline.resident = resident.some((bytes) => bytes > 0);
		byId('time-resident').hidden = !this.timeline.resident;
		byId('time-stacked').hidden = this.timeline.domains.length < 2;
		byId('time-stacked').addEventListener('click', () => this.toggle('stacked', byId('time-stacked')));
		byId('time-resident').addEventListener('click', () => this.toggle('resident', byId('time-resident')));
		byId('time-window').addEventListener('click', () => app.set({ window: '', windowBefore: '' }));
		byId('time-before').hidden = !this.report.slicesBefore?.count;
		byId('time-before').addEventListener('click', () => {
			this.toggle('choosesBefore', byId('time-before'));
			this.update();
		});
		for (const [name, domain] of [['mapped', MAPPED], ['arena', ARENA]]) {
			byId('time-' + name).hidden = !this.report.timeline.domains[domain].some((bytes) => bytes > 0);
			byId('time-' + name).addEventListener('click', () => this.toggle(name, byId('time-' + name)));
		}
		this.updateLegend();
		this.readOut(-1);
	}

	toggle(what, pressed) {
		this.timeline[what] = !this.timeline[what];
		pressed.setAttribute('aria-pressed', String(this.timeline[what]));
		this.updateLegend();
		this.timeline.schedule();
	}

	// What the state says when a window is chosen in the curve: of both runs, or of the one before alone.  step: not in
	// the midst of a drag; where nothing was chosen, all of the drag is of both.
	choice(window, step) {
		const { report, app } = this;
		if (!window)
			return { window: '', windowBefore: '' };
		if (!this.timeline.choosesBefore)
			return { window: windowText(window) };
		const same = sameWindow(report.slices, windowInfo(runBefore(report), window)) ??
			{ ...window, from: 0, to: report.slices.count - 1 };
		if (step)
			this.choosesBoth = report.meta.window?.instant !== window.instant;
		return { windowBefore: windowText(window), window: this.choosesBoth ? windowText(same) : app.state.window };
	}

	// [[class of its dot, text]]
	legendEntries() {
		const { meta, timelineBefore } = this.report;
		const entries = this.timeline.stacked ? this.timeline.domains.map((i) => ['d' + i, meta.domains[i].name]) :
			[['line-live', timelineBefore ? 'live after' : 'live']];
		if (timelineBefore)
			entries.push(['line-before', 'live before']);
		if (this.timeline.resident)
			entries.push(['line-resident', timelineBefore ? 'resident after' : 'resident']);
		if (this.timeline.resident && timelineBefore?.resident.some((bytes) => bytes > 0))
			entries.push(['line-before-resident', 'resident before']);
		if (this.timeline.mapped && !this.timeline.stacked)
			entries.push(['d' + MAPPED, 'mapped']);
		if (this.timeline.arena)
			entries.push(['d' + ARENA, 'arenas']);
		entries.push(...stretchLegend(meta));
		return entries;
	}

	updateLegend() {
		byId('time-legend').replaceChildren(...this.legendEntries().map(([className, text, title = '']) => {
			const entry = legendEntry(className, text);
			entry.title = title;
			return entry;
		}));
	}

	// null: there is no curve to draw.
	drawing() {
		const { timeline, app: { palette } } = this;
		if (!this.report.timeline.count || !timeline.width)
			return null;
		const colours = { 'line-live': palette.live, 'line-resident': palette.resident, 'line-before': palette.before,
			'line-before-resident': palette.before, 'line-gap': palette.axis, 'line-sampled': palette.axis, '':
				palette.paper };
		palette.domains.forEach((colour, i) => {
			colours['d' + i] = colour;
		});
		const { width, height } = timeline;
		return withLegend({ width, height, draw: (context) => timeline.picture(context) },
			this.legendEntries().map(([className, text]) => [colours[className], text]), palette);
	}

	// The state's window or instant, in words and in the curve.
	update() {
		const { report, app } = this;
		const window = parseWindow(app.state.window, report.slices);
		this.timeline.windows = { after: window, before: report.meta.window?.before ?? null };
		this.timeline.schedule();
		const chosen = byId('time-window');
		chosen.hidden = !window;
		if (window) {
			const title = windowTitle(report);
			chosen.textContent = title + '  ×';
			chosen.title = 'All views show this ' + (window.instant ? 'instant' : 'window') + ' only; click to show ' +
				'the whole run again.' + (title !== report.meta.window.title ? '' : '\nThe same in a terminal: sctmem ' +
				(report.before ? 'diff ' : 'tree ') + windowOptions(report, window));
			chosen.setAttribute('aria-label', 'Shown: ' + title + '. Show the whole run again');
		}
		this.readOut(this.timeline.hovered);
	}

	// What can be done here, and how fine the cut is.
	hint() {
		const { slices, meta } = this.report;
		if (!slices?.count && meta.slices_crowded)
			return 'So many places allocate that the run could not be cut into slices of time: there are no windows and ' +
				'instants. sctmem report --slices N allows more, for a larger page.';
		if (!slices?.count)
			return '';
		const cut = formatExact(slices.count) + ' slices of ' + formatTime(slices.end[0]);
		return 'Drag over the curve for a window of time, click for an instant: all views then show it' +
			(this.report.before ? ', of both runs at the same time since their starts' : '') + '. The run is cut ' +
			'into ' + cut + '; figures are exact at their borders.' + (meta.slices_crowded ? ' There are fewer slices than ' +
			formatExact(meta.slice_limit) + ' because so many places allocate: sctmem flamegraph --slices N allows more, ' +
			'for a larger page.' : '');
	}

	readOut(point) {
		const { timeline, meta, timelineBefore } = this.report;
		const readout = byId('time-readout');
		if (point < 0) {
			const { count } = this.report.slices ?? { count: 0 };
			const none = meta.slices_crowded ? '  ·  no windows: too many places allocate' : '';
			const hint = !count ? none : this.app.state.window ? '' : '  ·  drag: a window, click: an instant';
			const before = timelineBefore ? ', before at ' + formatTime(meta.before_run.peak_time_us) : '';
			const highest = windowPeakText(this.report, isSampledAt(meta, meta.window?.peak?.time ?? 0) ? '≈ ' : '');
			readout.textContent = highest || (timeline.count ? 'peak at ' + formatTime(meta.peak_time_us) + before + hint : '');
			readout.title = highest ? highest + '\n' + windowPeakTitle(this.report) : this.hint();
			return;
		}
		const sampled = isSampledAt(meta, timeline.time[point]);
		const parts = [formatTime(timeline.time[point]), (timelineBefore ? 'after: live ' : 'live ') + (sampled ? '≈ ' : '') +
			formatBytes(timeline.live[point])];
		if (this.timeline.stacked)
			parts.push(...this.timeline.domains.map((i) => meta.domains[i].name + ' ' +
				formatBytes(timeline.domains[i][point])));
		else if (timeline.liveMax[point] > timeline.live[point])
			parts.push('max ' + formatBytes(timeline.liveMax[point]));
		if (timeline.resident[point])
			parts.push('resident ' + formatBytes(timeline.resident[point]));
		const span = timeline.time[point] - (point ? timeline.time[point - 1] : 0);
		// First, where it is not cut off: the figures beside it are of less than all.
		const stretches = stretchTexts(meta, timeline.time[point] - span, timeline.time[point]);
		parts.splice(1, 0, ...stretches);
		if (span > 0)
			parts.push(formatBytes(timeline.allocatedBytes[point] / span * 1e6) + '/s');
		if (timelineBefore)
			parts.push(beforeText(timelineBefore, meta.before_run, timeline.time[point]));
		const mark = meta.marks.find(([time]) => Math.abs(time - timeline.time[point]) <= span);
		if (mark)
			parts.push('◆ ' + visibleText(shorten(mark[1], 40)));
		readout.textContent = parts.join('  ·  ');
		readout.title = [formatExact(timeline.live[point]) + ' bytes live' + (sampled ? ', an estimate; no interval here' +
			(this.report.slices?.count ? ': click for that of an instant' : '') : ''), ...stretches].join('\n');
	}

	setTheme(palette) {
		this.timeline.setTheme(palette);
	}
}
