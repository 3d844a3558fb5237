// SPDX-License-Identifier: MIT
// Costs of lines of source.
//
//     own        of a line of Python: what was allocated while it was the innermost line of Python, by itself or by
// native
//                code beneath it.  Of a line of native code: what was allocated while it was the innermost of all
// frames
//                that are not hidden.
//     inclusive  what was allocated while the line was anywhere on the stack, each allocation once.
import { KIND_NATIVE, KIND_PYTHON } from './data.mjs';
import { METRICS, costColumn, siteSelected } from './tree.mjs';

// Frames of one line are one entry.  { count, of: frame -> entry or -1, file, line, python }
export function indexLines(frames) {
	const of = new Int32Array(frames.count).fill(-1);
	const lines = { of, file: [], line: [], count: 0 };
	const known = new Map();
	for (let i = 1; i < frames.count; i++) {
		if (!frames.line[i] || !frames.file[i] || frames.kind[i] > KIND_NATIVE)
			continue;
		const key = frames.file[i] + ':' + frames.line[i];
		if (!known.has(key)) {
			known.set(key, lines.count++);
			lines.file.push(frames.file[i]);
			lines.line.push(frames.line[i]);
		}
		of[i] = known.get(key);
	}
	return lines;
}

// For each line and metric (in the order of METRICS): own, python (the part of own in Python's objects), all.  For each
// file (by number of its string): the same, of which `all` counts each allocation once however many of its lines
// are on the stack.  pythonDomain: the number of that kind of memory.  ownPython, ownNative: for each site the line of
// which it is the own cost, -1 where there is none of that language.
export function sumLines(report, lines, hidden, filter, unit, pythonDomain) {
	const { sites, nodes, frames } = report;
	const make = (count) => METRICS.map(() => new Float64Array(count));
	const sums = { own: make(lines.count), python: make(lines.count), all: make(lines.count), files: new Map(),
		ownPython: new Int32Array(sites.count).fill(-1), ownNative: new Int32Array(sites.count).fill(-1) };
	const stamp = new Int32Array(lines.count).fill(-1);
	const columns = METRICS.map((metric) => sites.costs[costColumn(metric, unit)]);
	const fileOf = (file) => {
		if (!sums.files.has(file))
			sums.files.set(file, { own: [0, 0, 0, 0], python: [0, 0, 0, 0], all: [0, 0, 0, 0], stamp: -1 });
		return sums.files.get(file);
	};
	const addOwn = (entry, site) => {
		const file = fileOf(lines.file[entry]);
		for (let m = 0; m < METRICS.length; m++) {
			const cost = columns[m][site];
			sums.own[m][entry] += cost;
			file.own[m] += cost;
			if (sites.domain[site] === pythonDomain) {
				sums.python[m][entry] += cost;
				file.python[m] += cost;
			}
		}
	};
	for (let site = 0; site < sites.count; site++) {
		if (!siteSelected(sites, site, filter))
			continue;
		let innermost = true;
		let python = true;
		for (let node = sites.node[site]; node > 0; node = nodes.parent[node]) {
			const frame = nodes.frame[node];
			if (hidden[node])
				continue;
			const entry = lines.of[frame];
			const isPython = frames.kind[frame] === KIND_PYTHON;
			if (entry >= 0 && (isPython ? python : innermost)) {
				addOwn(entry, site);
				(isPython ? sums.ownPython : sums.ownNative)[site] = entry;
			}
			innermost = false;
			python = python && !isPython;
			if (entry < 0 || stamp[entry] === site)
				continue;
			stamp[entry] = site;
			const file = fileOf(lines.file[entry]);
			for (let m = 0; m < METRICS.length; m++) {
				sums.all[m][entry] += columns[m][site];
				if (file.stamp !== site)
					file.all[m] += columns[m][site];
			}
			file.stamp = site;
		}
	}
	return sums;
}

// What each line of a file itself held at each border of the time slices: a Map from lines' entries to bytes.
export function lineSeries(slices, lines, sums, file) {
	const series = new Map();
	const add = (site, slice, bytes) => {
		for (const own of [sums.ownPython[site], sums.ownNative[site]]) {
			if (own < 0 || lines.file[own] !== file)
				continue;
			if (!series.has(own))
				series.set(own, new Float64Array(slices.count));
			series.get(own)[slice] += bytes;
		}
	};
	for (let slice = 0, cell = 0, loss = 0; slice < slices.count; slice++) {
		for (; cell < slices.cellEnd[slice]; cell++)
			add(slices.site[cell], slice, slices.keptBytes[cell]);
		for (; loss < slices.lossEnd[slice]; loss++)
			add(slices.site[slices.lossCell[loss]], slice, -slices.lossBytes[loss]);
	}
	for (const changes of series.values()) {
		for (let slice = 1; slice < changes.length; slice++)
			changes[slice] += changes[slice - 1];
	}
	return series;
}

// The outline of an area as an SVG path, as high as its highest; in each pixel the highest that falls into it.
export function sparkPath(values, width, height) {
	const columns = new Float64Array(width);
	for (let x = 0; x < width; x++) {
		const from = Math.floor(x / width * values.length);
		const to = Math.max(from + 1, Math.ceil((x + 1) / width * values.length));
		for (let i = from; i < to; i++)
			columns[x] = Math.max(columns[x], values[i]);
	}
	const most = columns.reduce((a, b) => Math.max(a, b), 0);
	if (most === 0)
		return '';
	let path = 'M0 ' + height;
	columns.forEach((value, x) => {
		const y = Math.round((1 - value / most) * height * 10) / 10;
		path += 'L' + x + ' ' + y + 'L' + (x + 1) + ' ' + y;
	});
	return path + 'L' + width + ' ' + height + 'Z';
}
