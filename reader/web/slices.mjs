// SPDX-License-Identifier: MIT
// Windows of time: what was allocated in one, what was alive at its end, what is left of it; and the live heap at any
// instant.  Ends lie on borders between slices, so that every figure is exact; formats/report.md says what they hold.
//
// In the address a window is "from-to" (numbers of slices, both within), an instant is "to": the border of that slice.
import { formatTime } from './units.mjs';

export const WINDOW_PATTERN = /(\d+(-\d+)?)?/;

// { from, to, instant }; null for the whole run, and for what this page does not have.
export function parseWindow(text, slices) {
	if (!text || !slices?.count)
		return null;
	const [from, to] = text.includes('-') ? text.split('-').map(Number) : [0, Number(text)];
	return from <= to && to < slices.count ? { from, to, instant: !text.includes('-') } : null;
}

export function windowText(window) {
	return window ? (window.instant ? '' : window.from + '-') + window.to : '';
}

function cellsBefore(slices, slice) {
	return slice > 0 ? slices.cellEnd[slice - 1] : 0;
}

// When a slice begins: the border of the one before it.
export function sliceStart(slices, slice) {
	return slice > 0 ? slices.end[slice - 1] : 0;
}

// The slice whose border is nearest to a time; -1: the start of the run is.
export function nearestBorder(slices, time) {
	let low = 0;
	let high = slices.count - 1;
	while (low < high) {
		const middle = (low + high) >>> 1;
		if (slices.end[middle] < time)
			low = middle + 1;
		else
			high = middle;
	}
	const before = sliceStart(slices, low);
	return time - before < slices.end[low] - time ? low - 1 : low;
}

// One figure of each site for a window: allocated in it, alive at its end, allocated in it and alive at its end,
// allocated in it and never freed.  allocated, kept: of each cell; lost: of each loss.
function windowSums(report, { from, to }, allocated, kept, lost) {
	const { slices } = report;
	const sums = Array.from({ length: 4 }, () => new Float64Array(report.sites.count));
	const [total, live, left, never] = sums;
	const first = cellsBefore(slices, from);
	const end = slices.cellEnd[to];
	for (let i = 0; i < end; i++) {
		const site = slices.site[i];
		live[site] += kept[i];
		if (i < first)
			continue;
		total[site] += allocated[i];
		left[site] += kept[i];
		never[site] += kept[i];
	}
	const lossEnd = slices.lossEnd[to];
	for (let i = 0; i < slices.lossCell.length; i++) {
		const cell = slices.lossCell[i];
		if (cell >= end)
			continue;
		const site = slices.site[cell];
		if (i < lossEnd)
			live[site] -= lost[i];
		if (cell < first)
			continue;
		if (i < lossEnd)
			left[site] -= lost[i];
		never[site] -= lost[i];
	}
	return sums;
}

// The eight costs of each site for a window, in the order of data.mjs: bytes and count of each sum.
export function windowCosts(report, window) {
	const { slices } = report;
	const bytes = windowSums(report, window, slices.totalBytes, slices.keptBytes, slices.lossBytes);
	const counts = windowSums(report, window, slices.totalCount, slices.keptCount, slices.lossCount);
	return bytes.flatMap((sums, i) => [sums, counts[i]]);
}

// Of a sample, how uncertain these bytes are, as report.spreads has it; else null.
export function windowSpreads(report, window) {
	const { slices } = report;
	if (!slices.totalUnseen)
		return null;
	const unseen = windowSums(report, window, slices.totalUnseen, slices.keptUnseen, slices.lossUnseen);
	const variance = windowSums(report, window, slices.totalVariance, slices.keptVariance, slices.lossVariance);
	return unseen.flatMap((sums, i) => [sums, variance[i]]);
}

// How coarse the sample was, at most, for each sum: what lives at the window's end was allocated until then.
export function windowMeans(report, { to }) {
	const steps = report.meta.sample_steps ?? [];
	const coarsest = (list) => list.reduce((most, [, mean]) => Math.max(most, mean), 0);
	const [all, then] = [coarsest(steps), coarsest(steps.filter(([, , time]) => time <= report.slices.end[to]))];
	return [all, then, then, all];
}

// The live bytes of some sites at each border.  chosen: by site, not 0 for those that count.
export function liveSeries(slices, chosen) {
	const series = new Float64Array(slices.count);
	let cell = 0;
	let loss = 0;
	let live = 0;
	for (let i = 0; i < slices.count; i++) {
		for (; cell < slices.cellEnd[i]; cell++)
			live += chosen[slices.site[cell]] ? slices.keptBytes[cell] : 0;
		for (; loss < slices.lossEnd[i]; loss++)
			live -= chosen[slices.site[slices.lossCell[loss]]] ? slices.lossBytes[loss] : 0;
		series[i] = live;
	}
	return series;
}

// The highest that the live heap was in a window, from what lived at its beginning on: { low, high, time }, when it was
// low.  Exact, low is high, where the window's ends are points of the time line, as they are unless slices are narrower
// than those.  Of captures that lack what was soon freed it may have been higher.  null: of an instant.
export function windowPeak({ slices, timeline, meta, sites }, { from, to, instant }) {
	if (instant || !timeline?.count)
		return null;
	const [start, end] = [sliceStart(slices, from), slices.end[to]];
	const peak = { low: -1, high: 0, time: start };
	const reached = (bytes, time) => {
		if (bytes > peak.low)
			Object.assign(peak, { low: bytes, time });
	};
	const live = liveSeries(slices, sites.counted);
	if (from > 0)
		reached(live[from - 1], start);
	for (let i = 0; i < timeline.count; i++) {
		const [since, until, time] = [i ? timeline.time[i - 1] : 0, timeline.time[i], timeline.maxTime[i]];
		if (since >= end || until <= start)
			continue;
		peak.high = Math.max(peak.high, timeline.liveMax[i]);
		// Times are cut to microseconds: at the beginning it may still have been before it.
		if ((since >= start && until <= end) || (time > start && time < end))
			reached(timeline.liveMax[i], time);
	}
	for (let i = from; i <= to; i++)
		reached(live[i], slices.end[i]);
	peak.high = Math.max(peak.high, peak.low);
	for (const { aggregated_peak_bytes: unseen = 0, compacted_us: compacted = 0 } of meta.captures ?? [])
		peak.high += compacted ? Infinity : unseen;
	return peak;
}

// A time with as many digits as tell one border from the next.
export function formatBorder(slices, time) {
	const width = slices.end[0];
	if (time >= 60e6 || width >= 1e6)
		return formatTime(time);
	if (time === 0)
		return '0 s';
	const [unit, name] = time >= 1e6 ? [1e6, ' s'] : time >= 1e3 ? [1e3, ' ms'] : [1, ' µs'];
	return (time / unit).toFixed(Math.min(3, Math.max(0, Math.ceil(Math.log10(unit / width))))) + name;
}

// The same stretch of another run, from the start of each, at its nearest borders; null: it had ended.
export function sameWindow(slices, { start, end, instant }) {
	const last = slices.count - 1;
	if (last < 0 || (instant ? end : start) >= slices.end[last] + slices.end[0] / 2)
		return null;
	const to = Math.max(0, nearestBorder(slices, end));
	if (instant)
		return { from: 0, to, instant };
	const from = Math.min(nearestBorder(slices, start) + 1, last);
	return { from, to: Math.max(from, to), instant };
}

// The run compared with, as if it were the page's own, for what is asked of a window.
export function runBefore(report) {
	return { ...report, slices: report.slicesBefore, timeline: report.timelineBefore, meta: report.meta.before_run };
}

// What the page says of a window: its times, and what the four metrics mean in it.  At an instant, what is left of all
// that was allocated is what lives: that metric has no name then, and is shown as the other.
export function windowInfo(report, window) {
	const { slices } = report;
	const start = sliceStart(slices, window.from);
	const end = slices.end[window.to];
	const peak = windowPeak(report, window);
	const at = formatBorder(slices, end);
	if (window.instant) {
		return {
			...window, start, end, peak, title: 'at ' + at,
			labels: { peak: 'Live then', leaked: '', total: 'Allocated until then', temporary: 'Never freed' },
			notes: { peak: 'at ' + at, leaked: 'at ' + at, total: 'until ' + at, temporary: 'of what was allocated' },
		};
	}
	const span = formatBorder(slices, start) + ' to ' + at;
	return {
		...window, start, end, peak, title: span,
		labels: { peak: 'Live at its end', leaked: 'Leaked from it', total: 'Allocated in it', temporary: 'Never freed' },
		notes: { peak: 'at ' + at, leaked: 'still there at ' + at, total: span, temporary: 'of what was allocated in it' },
	};
}

// The options that make the command look at the same.  The last border is the end of the run.
export function windowOptions(report, { from, to, instant }) {
	const { slices } = report;
	// Another run may not end there.
	const last = to === slices.count - 1 && !report.before;
	const at = last ? 'end' : slices.end[to] + 'us';
	if (instant)
		return '--at ' + at;
	const start = from > 0 ? slices.end[from - 1] * 1000 + 1 + 'ns' : '';
	return '--time ' + start + '..' + (last ? '' : slices.end[to] + 'us') + ' --at ' + at;
}
