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
// are on the stack.  pythonDomain: the number of that kind of memory.
export function sumLines(report, lines, hidden, filter, unit, pythonDomain) {
	const { sites, nodes, frames } = report;
	const make = (count) => METRICS.map(() => new Float64Array(count));
	const sums = { own: make(lines.count), python: make(lines.count), all: make(lines.count), files: new Map() };
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
			if (entry >= 0 && (isPython ? python : innermost))
				addOwn(entry, site);
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
