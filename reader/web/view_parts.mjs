// SPDX-License-Identifier: MIT
// Summaries, each a table with a row for every thread, module or process: all costs of it, and what is known about it.
// A click on a row shows it in the flame graph.
import { element } from './dom.mjs';
import { commandLine, captureState } from './header.mjs';
import { fillName, fillValue, metricColumns, numberColumn, textColumn } from './rows.mjs';
import { Table } from './table.mjs';
import { costColumn, siteSelected } from './tree.mjs';
import { baseName, formatBytes, formatCount, formatTime, shorten, visibleText } from './units.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';

// All eight costs of the selected sites, by part: an array of 8 for each of `count` parts.
export function sumParts(report, filter, count, partOfSite) {
	const { sites } = report;
	const sums = Array.from({ length: count }, () => new Array(8).fill(0));
	for (let site = 0; site < sites.count; site++) {
		if (!siteSelected(sites, site, filter))
			continue;
		const to = sums[partOfSite(site)];
		for (let column = 0; column < 8; column++)
			to[column] += sites.costs[column][site];
	}
	return sums;
}

class PartsView {
	// describe(app): { name, label, rows, columns, sort, open(row), note }
	constructor(root, app, describe) {
		Object.assign(this, { app, describe });
		this.note = root.appendChild(element('p', 'muted parts-note'));
		const place = root.appendChild(element('div'));
		place.id = root.id + '-rows';
		place.setAttribute('role', 'grid');
		place.setAttribute('aria-label', 'Rows');
		this.table = new Table(place, { onOpen: (row) => this.shown.open(row) });
	}

	update() {
		this.shown = this.describe(this.app);
		this.note.textContent = this.shown.note;
		this.table.show({ emptyText: this.app.emptyText(), room: 220, ...this.shown });
	}

	focus() {
		this.table.body.focus();
	}
}

function describeThreads(app) {
	const { report, model, state } = app;
	const { threads, strings, meta, sites } = report;
	const sums = sumParts(report, { ...model.filter(state), thread: -1 }, threads.count, (site) => sites.thread[site]);
	const whole = model.sumOf({ ...state, thread: '' });
	const name = (row) => visibleText(shorten(strings[threads.name[row]], 80)) || 'unnamed';
	const several = meta.captures.length > 1;
	return {
		name: 'threads', sort: { key: state.metric, descending: true },
		rows: [...threads.tid.keys()].filter((row) => sums[row][1] > 0 || !state.domain),
		note: 'Who allocated it. A click shows only this thread, in every view.',
		open: (row) => app.set({ thread: state.thread === String(row) ? '' : String(row), view: 'flame', zoom: '' }),
		columns: [
			{
				key: 'name', label: 'Thread', className: 'wide', value: (row) => name(row).toLowerCase(),
				fill: (cell, row) => fillName(cell, state.thread === String(row) ? 'k1' : 'k0', name(row),
					'thread ' + threads.tid[row]),
			},
			...(several ? [textColumn('process', 'Process', '84px', (row) =>
				String(meta.captures[threads.capture[row]].pid))] : []),
			numberColumn('start', 'Started', '84px', (row) => threads.start[row], formatTime, 'Time of its first event'),
			...metricColumns(meta, state, (row, column) => sums[row][column], whole),
			numberColumn('blocks', 'Allocations', '92px', (row) => sums[row][costColumn('total', 'count')], formatCount),
		],
	};
}

function describeModules(app) {
	const { report, model } = app;
	const state = { ...app.state, group: 'module' };
	const { groups } = model.groupsOf(state);
	const costs = model.groupCosts(state);
	const whole = model.sumOf(state);
	const column = app.metricColumn();
	const name = (row) => frameName(report, groups, row);
	const rows = [];
	for (let row = 0; row < groups.count; row++) {
		if (groups.frame[row] !== 0 && costs.all[1][row] > 0)
			rows.push(row);
	}
	return {
		name: 'modules', rows, sort: { key: 'all', descending: true },
		note: 'Native libraries and Python files: what they allocated themselves, and with all that they called.',
		open: (row) => app.set({ group: 'module', view: 'callers', fn: String(groups.frame[row]) }),
		columns: [
			{
				key: 'name', label: 'Module', className: 'wide', value: (row) => name(row).toLowerCase(),
				fill: (cell, row) => fillName(cell, 'k' + frameKind(report, groups, row), baseName(name(row)),
					framePlace(report, groups, row) || name(row)),
			},
			...metricColumns(report.meta, state, (row, of) => costs.own[of][row], whole)
				.map((one) => ({ ...one, title: 'Allocated in it itself' })),
			{
				key: 'all', label: 'Inclusive', className: 'number', width: '96px', descending: true,
				title: 'Of what is measured: allocated in it and in all that it calls',
				value: (row) => costs.all[column][row],
				fill: (cell, row) => fillValue(cell, costs.all[column][row], whole[column], state.unit),
			},
		],
	};
}

// Children below their parents, as far as the parents' captures are here: [row, depth].
export function familyOrder(captures) {
	const order = [];
	const add = (parent, depth) => captures.forEach((capture, row) => {
		const at = captures.findIndex((other) => other !== capture && other.pid === capture.parent_pid);
		if (at === parent && !order.some(([known]) => known === row)) {
			order.push([row, depth]);
			add(row, depth + 1);
		}
	});
	add(-1, 0);
	// Whoever is its own ancestor, because numbers of processes were used again.
	captures.forEach((_, row) => order.some(([known]) => known === row) || order.push([row, 0]));
	return order;
}

function describeProcesses(app) {
	const { report, model, state } = app;
	const { meta, threads, sites } = report;
	const { captures } = meta;
	const sums = sumParts(report, { ...model.filter(state), thread: -1 }, captures.length,
		(site) => threads.capture[sites.thread[site]]);
	const whole = model.sumOf({ ...state, thread: '' });
	const order = familyOrder(captures);
	const depth = new Map(order);
	const rank = new Map(order.map(([row], i) => [row, i]));
	const command = (row) => visibleText(shorten(commandLine(captures[row].arguments), 300)) || '?';
	return {
		name: 'processes', rows: order.map(([row]) => row), sort: { key: 'name', descending: false },
		note: 'All captures of this page, children below their parents. The peak is what each held when all together were ' +
			'highest. A click splits the flame graph by process.',
		open: () => app.set({ view: 'flame', split: 'process', zoom: '', inverted: '' }),
		columns: [
			{
				key: 'name', label: 'Process', className: 'wide', value: (row) => rank.get(row),
				fill: (cell, row) => {
					const { pid, path } = captures[row];
					fillName(cell, 'k0', '\u2003'.repeat(depth.get(row)) + pid + '  ' + command(row), path);
				},
			},
			textColumn('state', 'State', '150px', (row) => captureState(captures[row])),
			numberColumn('duration', 'Duration', '84px', (row) => captures[row].duration_us, formatTime),
			numberColumn('own', 'Own peak', '84px', (row) => captures[row].peak_bytes, formatBytes,
				'The most that it held by itself, at a time of its own; bytes of all its threads and kinds'),
			...metricColumns(meta, state, (row, column) => sums[row][column], whole),
			numberColumn('events', 'Events', '84px', (row) => captures[row].events, formatCount),
			numberColumn('lost', 'Lost', '64px', (row) => captures[row].lost_events, formatCount,
				'Events that were not recorded'),
			numberColumn('file', 'Capture', '84px', (row) => captures[row].file_bytes, formatBytes),
		],
	};
}

function partsView(fields, describe) {
	return { side: [], create: (root, app) => new PartsView(root, app, describe), ...fields };
}

export const threadsView = partsView({ name: 'threads', title: 'Threads', hint: 'what each thread allocated', key:
	'H' },
	describeThreads);
export const modulesView = partsView({ name: 'modules', title: 'Modules', hint: 'what each library and file allocated',
	key: 'M' },
	describeModules);
export const processesView = partsView({
	name: 'processes', title: 'Processes', hint: 'a process and its children', key: 'P',
	offered: ({ meta }) => meta.captures.length > 1,
}, describeProcesses);
