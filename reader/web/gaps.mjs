// SPDX-License-Identifier: MIT
// Stretches of time of which less is known than of others: where recording was stopped, and from when on only a sample
// was recorded.  They are shaded in the time line and told under the pointer.
import { formatBytes, formatCount, formatTime } from './units.mjs';

// Overlapping and touching stretches of [from, to] as one, for drawing: a program may stop and start a thousand times.
export function joinStretches(stretches, distance) {
	const joined = [];
	for (const [from, to] of [...stretches].sort((a, b) => a[0] - b[0])) {
		const last = joined[joined.length - 1];
		if (last && from - last[1] <= distance)
			last[1] = Math.max(last[1], to);
		else
			joined.push([from, to]);
	}
	return joined;
}

// What is to be said of the time between two points, as texts.  meta: as in formats/report.md.
export function stretchTexts(meta, from, to) {
	const several = meta.captures.length > 1;
	const who = (capture) => several ? ' (process ' + meta.captures[capture].pid + ')' : '';
	const texts = [];
	for (const [capture, start, end, bytes, count] of meta.gaps ?? []) {
		if (start > to || end < from)
			continue;
		texts.push('not recorded ' + formatTime(start) + ' to ' + formatTime(end) + who(capture) + (count ?
			', then ' + formatBytes(bytes) + ' in ' + formatCount(count) + ' blocks were not followed any more' : ''));
		// As many as there is room for.
		if (texts.length === 2)
			break;
	}
	const steps = new Map();
	for (const [capture, mean, time] of meta.sample_steps ?? []) {
		if (time <= to)
			steps.set(capture, mean);
	}
	for (const [capture, mean] of [...steps].slice(0, 2))
		texts.push('sampled: a block about every ' + formatBytes(mean) + who(capture));
	return texts;
}

// [[class of its dot, text, title]] for the legend.
export function stretchLegend(meta) {
	const sum = (key) => meta.captures.reduce((all, capture) => all + capture[key], 0);
	const entries = [];
	if (meta.gaps?.length) {
		entries.push(['line-gap', 'not recorded', sum('gaps') > meta.gaps.length ? 'The first ' +
			formatCount(meta.gaps.length) + ' of ' + formatCount(sum('gaps')) + ' stretches' : 'Recording was stopped']);
	}
	if (meta.sample_steps?.length)
		entries.push(['line-sampled', 'sampled', 'From there on only a part of all blocks was recorded']);
	if (sum('lost_events'))
		entries.push(['', formatCount(sum('lost_events')) + ' events lost', 'When they were lost is not known']);
	return entries;
}
