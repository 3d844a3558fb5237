// SPDX-License-Identifier: MIT
// What was never freed, each stack with what speaks for a leak: how it grew, its score, how old the oldest block is,
// how much of what is allocated there is ever freed.  What is kept by design, and what was freed only at the end, is
// told apart.
import { choiceButtons, element } from './dom.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';
import { suppressedSum } from './header.mjs';
import { KEEPERS, SUPPRESSED, collectEvidence, evidenceScore, evidenceWord, oldestSpan } from './leaks.mjs';
import { fillName, fillValue, numberColumn, textColumn } from './rows.mjs';
import { formatBorder, parseWindow } from './slices.mjs';
import { Table } from './table.mjs';
import { buildTopDown, exclusiveCosts, groupFrames, withCosts } from './tree.mjs';
import { formatBytes, formatCount, formatExact, formatExactValue, formatShare } from './units.mjs';
import { visibleText } from './units.mjs';

const CURVE_SVG = 'http://www.w3.org/2000/svg';
const CURVE_WIDTH = 96;
const CURVE_HEIGHT = 22;

// A curve of what was held at the end of each part of the run.
function fillCurve(cell, held) {
	if (!cell.firstChild) {
		const svg = document.createElementNS(CURVE_SVG, 'svg');
		svg.setAttribute('viewBox', '0 0 ' + CURVE_WIDTH + ' ' + CURVE_HEIGHT);
		svg.setAttribute('class', 'leaks-spark');
		svg.setAttribute('aria-hidden', 'true');
		svg.append(document.createElementNS(CURVE_SVG, 'path'), document.createElementNS(CURVE_SVG, 'polyline'));
		cell.append(svg);
	}
	const most = held.reduce((max, bytes) => Math.max(max, bytes), 1);
	const points = [0, ...held].map((bytes, i) => [(i / held.length * (CURVE_WIDTH - 2) + 1).toFixed(1),
		(CURVE_HEIGHT - 2 - bytes / most * (CURVE_HEIGHT - 4)).toFixed(1)].join(','));
	const [area, line] = cell.firstChild.children;
	area.setAttribute('d', 'M1,' + (CURVE_HEIGHT - 1) + ' L' + points.join(' L') + ' L' + (CURVE_WIDTH - 1) + ',' +
		(CURVE_HEIGHT - 1) + ' Z');
	line.setAttribute('points', points.join(' '));
	cell.title = held.map(formatBytes).join(' → ');
}

const EMPTY_TEXTS = {
	late: 'Nothing was held until the last 2 % of the run and freed then.',
	suppressed: 'No suppression hit anything.',
};

// The file of --suppressions: each line with what it hit, so that one that hits nothing can go.
function suppressionList(suppressions) {
	const { bytes, hits, all } = suppressedSum(suppressions);
	const list = element('details', 'leaks-suppressions');
	list.append(element('summary', '', formatBytes(bytes) + ' suppressed by ' + hits + ' of ' + all +
		(all === 1 ? ' suppression' : ' suppressions') + ', in the whole run'));
	const rows = list.appendChild(element('ul'));
	for (const [pattern, hit, count] of suppressions) {
		const row = rows.appendChild(element('li', count ? '' : 'muted'));
		row.append(element('span', 'figure', count ? formatBytes(hit) : 'nothing'),
			element('span', 'muted', count ? formatExactValue(count, 'count') : 'it can go'),
			element('code', '', 'leak:' + visibleText(pattern)));
		row.title = formatExactValue(hit, 'bytes');
	}
	return list;
}

class LeaksView {
	constructor(root, app) {
		this.app = app;
		const head = element('div', 'view-head');
		const kind = element('div', 'segments');
		kind.setAttribute('role', 'radiogroup');
		kind.setAttribute('aria-label', 'What is listed');
		const suppressions = app.report.meta.suppressions ?? [];
		this.showKind = choiceButtons(kind, [['program', 'The program’s'], ['all', 'All'], ['late', 'Freed late'],
			...(suppressions.length ? [['suppressed', 'Suppressed']] : [])],
			(leakKind) => app.set({ leakKind }));
		this.note = element('p', 'muted leaks-note');
		head.append(kind, this.note);
		const place = element('div');
		place.id = 'leaks-rows';
		place.setAttribute('role', 'grid');
		place.setAttribute('aria-label', 'Leaks');
		root.append(head, ...(suppressions.length ? [suppressionList(suppressions)] : []), place);
		this.table = new Table(place, { onOpen: (row) => this.open(row) });
		this.lines = groupFrames(app.report.frames, 'line');
	}

	// The tree is that of all allocations, so that each stack is in it, whatever is measured.
	collect() {
		const { app } = this;
		const { report, model, state } = app;
		const whole = { ...state, split: '', recursion: '' };
		const key = [model.filterKey(state), state.hide].join('|');
		if (this.key === key)
			return;
		this.key = key;
		const hidden = model.hiddenOf(whole);
		const ones = withCosts(report, [report.sites.costs[0].map(() => 1)]);
		this.tree = buildTopDown(report.nodes, model.childrenOf(report), this.lines, hidden,
			exclusiveCosts(ones, 0, { thread: -1, domain: -1 }));
		const stackOf = (site) => {
			let node = report.sites.node[site];
			while (node > 0 && this.tree.ofNode[node] < 0)
				node = report.nodes.parent[node];
			return this.tree.ofNode[node];
		};
		Object.assign(this, collectEvidence(report, stackOf, model.filter(state), parseWindow(state.window, report.slices)));
	}

	update() {
		const { app } = this;
		const { report, state } = app;
		const { slices } = report;
		this.collect();
		this.showKind(state.leakKind);
		const late = state.leakKind === 'late';
		const bytes = (row) => (late ? this.entries[row].lateBytes : this.entries[row].bytes);
		const count = (row) => (late ? this.entries[row].lateCount : this.entries[row].count);
		const keeper = { program: 0, suppressed: SUPPRESSED }[state.leakKind] ?? null;
		const rows = [];
		const sums = KEEPERS.map(() => 0);
		let lateBytes = 0;
		this.entries.forEach((entry, row) => {
			sums[entry.keeper] += entry.bytes;
			lateBytes += entry.lateBytes;
			if (count(row) > 0 && (keeper === null || entry.keeper === keeper))
				rows.push(row);
		});
		this.note.textContent = this.noteText(sums, lateBytes);
		const group = (row) => this.tree.group[this.entries[row].stack];
		const name = (row) => frameName(report, this.lines, group(row));
		const place = (row) => framePlace(report, this.lines, group(row));
		const whole = rows.reduce((sum, row) => sum + bytes(row), 0);
		const oldest = (row, i) => {
			const span = oldestSpan(slices, this.entries[row]);
			return span ? formatBorder(slices, span[i]) : '–';
		};
		const columns = [
			{
				key: 'name', label: 'Allocated at', className: 'wide', value: (row) => name(row).toLowerCase(),
				fill: (cell, row) => fillName(cell, 'k' + frameKind(report, this.lines, group(row)), name(row), place(row)),
			},
			{
				key: 'bytes', label: late ? 'Freed late' : 'Never freed', className: 'number', width: '104px', descending: true,
				value: bytes, fill: (cell, row) => fillValue(cell, bytes(row), whole, 'bytes'),
			},
			numberColumn('count', 'Blocks', '76px', count, formatCount),
			{
				key: 'growth', label: 'Held, over time', width: '116px', descending: true,
				value: (row) => evidenceScore(this.entries[row].held), fill: (cell, row) => fillCurve(cell, this.entries[row].held),
			},
			{
				key: 'score', label: 'Score', className: 'number', width: '64px', descending: true,
				title: 'The chance that it holds more after a further part of the run (rule of succession)',
				value: (row) => evidenceScore(this.entries[row].held),
				fill: (cell, row) => {
					const score = evidenceScore(this.entries[row].held);
					cell.textContent = score.toFixed(2);
					cell.title = 'Of ' + this.entries[row].held.length + ' parts of the run it grew in as many more than it shrank ' +
						'in as make this score';
					cell.dataset.score = score >= 0.8 ? 'high' : '';
				},
			},
			textColumn('is', 'Is', '72px', (row) => evidenceWord(this.entries[row].held), () =>
				'growing: still in the last quarter of the run; stopped: only before (a full cache); ' +
				'once: in one part of the run, or in two that follow each other'),
			numberColumn('share', 'Of all there', '88px', (row) => this.entries[row].count / this.entries[row].totalCount,
				(share) => formatShare(share, 1), 'Blocks never freed, of all that were allocated there'),
			textColumn('oldest', 'Oldest of', '84px', (row) => oldest(row, 0), (row) => 'The oldest block still live was ' +
				'allocated between ' + oldest(row, 0) + ' and ' + oldest(row, 1)),
		];
		if (keeper === null)
			columns.push(textColumn('keeper', 'Kept by', '104px', (row) => KEEPERS[this.entries[row].keeper][1]));
		this.table.show({
			name: 'leaks ' + (keeper === null) + late, rows, columns, room: 200,
			sort: { key: 'bytes', descending: true },
			emptyText: EMPTY_TEXTS[state.leakKind] ?? 'Nothing was left.',
		});
	}

	noteText(sums, lateBytes) {
		const { slices } = this.app.report;
		const parts = KEEPERS.map(([, label], i) => [i === SUPPRESSED ? 'that is suppressed' : 'by ' + label, sums[i]])
			.filter(([, sum], i) => sum > 0 || i === 0).map(([label, sum]) => formatBytes(sum) + ' ' + label);
		const late = this.late.from >= 0 && lateBytes > 0 ? '  Besides, ' + formatBytes(lateBytes) + ' allocated before ' +
			formatBorder(slices, slices.end[this.late.born]) + ' were freed only after ' +
			formatBorder(slices, slices.end[this.late.from]) + '.' : '';
		this.note.title = KEEPERS.map(([word], i) => word + ': ' + formatExact(sums[i]) + ' bytes').join('\n');
		return 'Kept ' + parts.join(', ') + '.' + late;
	}

	open(row) {
		const { tree } = this;
		const { stack } = this.entries[row];
		this.app.set({ view: 'flame', metric: 'leaked', inverted: '',
			zoom: stack ? String(tree.entries[tree.entryStart[stack]]) : '' });
	}

	focus() {
		this.table.body.focus();
	}
}

export const leaksView = {
	name: 'leaks',
	title: 'Leaks',
	hint: 'what was never freed, with what speaks for a leak',
	key: 'L',
	side: [],
	fields: { leakKind: { letter: 'k', initial: 'program', accepts: ['program', 'all', 'late', 'suppressed'] } },
	// What is left is said of the end of the run.
	offered: ({ slices, meta, before }) => !before && slices?.count > 0 && meta.at_time_us >= meta.duration_us,
	create: (root, app) => new LeaksView(root, app),
};
