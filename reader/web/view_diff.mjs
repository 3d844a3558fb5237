// SPDX-License-Identifier: MIT
// What changed against another run: a flame graph in red (grew) and blue (shrank), and every function with what it had
// before and after, by growth.  Both are of what is measured: peak, leaked, total or temporary.
import { choiceButtons, element } from './dom.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';
import { FlameGraph } from './flame.mjs';
import { differenceInterval, interval, isEstimate } from './intervals.mjs';
import { mixColours } from './palette.mjs';
import { withLegend } from './picture.mjs';
import { fillName, fillValue, numberColumn } from './rows.mjs';
import { Table } from './table.mjs';
import { buildTopDown, costColumn, costsOf, exclusiveCosts, exclusiveSums, groupCosts } from './tree.mjs';
import { inclusiveCosts, sumCosts, withCosts } from './tree.mjs';
import { formatExact, formatExactValue, formatShare, formatValue, shorten } from './units.mjs';

const DIFF_COLOURS = {
	light: { grew: '#ef8a80', shrank: '#86b3f4', same: '#e3e7ed' },
	dark: { grew: '#a63a32', shrank: '#2a5db0', same: '#2c3340' },
};

export function formatGrowth(value, unit) {
	return (value > 0 ? '+' : value < 0 ? '−' : '') + formatValue(Math.abs(value), unit);
}

function formatExactGrowth(value, unit) {
	return (value > 0 ? '+' : value < 0 ? '−' : '') + formatExactValue(Math.abs(value), unit);
}

// "+1.5 MiB to +2.1 MiB", "exact".
export function growthIntervalText(range) {
	return isEstimate(range) ? range.map((bytes) => formatGrowth(bytes, 'bytes')).join(' to ') : 'exact';
}

// The intervals of sums, where a side is a sample; else null.  column: of bytes; sumUp(columns of sites): sums of
// whatever kind, in which pick(sums, column) finds one.  (before, after, pick) -> { before, after, growth }.
export function growthIntervals(report, column, sumUp) {
	const { meta, spreads, spreadsBefore } = report;
	if (!spreads && !spreadsBefore)
		return null;
	const sides = [[spreadsBefore, meta.before_run?.sample_means], [spreads, meta.sample_means]].map(([own, means]) =>
		own && { sums: sumUp(own), mean: means[column / 2] });
	const range = (side, value, pick) => side ? interval(value, pick(side.sums, column), pick(side.sums, column + 1),
		side.mean) : [value, value];
	return (before, after, pick) => {
		const ranges = { before: range(sides[0], before, pick), after: range(sides[1], after, pick) };
		return { ...ranges, growth: differenceInterval(before, ranges.before, after, ranges.after) };
	};
}

// The report as it was before: the same stacks and sites, with the other capture's costs.
export function reportBefore(report) {
	return withCosts(report, report.before);
}

// "new", "gone", "grown", "shrunk", "same"; totals: whether anything was allocated at all.
export function changeWord(before, after, beforeCount, afterCount) {
	if (beforeCount === 0)
		return 'new';
	if (afterCount === 0)
		return 'gone';
	return before === after ? 'same' : before < after ? 'grown' : 'shrunk';
}

// Sorted by what it grew at least.
function intervalColumn(range) {
	return {
		key: 'interval', label: '95 %', className: 'number', width: '168px', descending: true,
		title: 'Of the growth of what it allocates itself: the truth lies there in 95 of 100 samples',
		value: (row) => range(row)[0],
		fill: (cell, row) => {
			cell.textContent = growthIntervalText(range(row));
			cell.title = range(row).map((bytes) => formatExactGrowth(bytes, 'bytes')).join(' to ');
			cell.dataset.interval = range(row).join(' ');
		},
	};
}

class DiffView {
	constructor(root, app) {
		this.app = app;
		const head = element('div', 'view-head');
		const width = element('div', 'segments');
		width.setAttribute('role', 'radiogroup');
		width.setAttribute('aria-label', 'Boxes are as wide as');
		this.showWidth = choiceButtons(width, [['both', 'Both'], ['after', 'After'], ['before', 'Before']],
			(diffWidth) => app.set({ diffWidth }));
		this.figures = element('span', 'diff-figures');
		const legend = element('div', 'legend');
		for (const [kind, text] of [['grew', 'grew'], ['shrank', 'shrank'], ['same', 'the same']]) {
			const entry = legend.appendChild(element('span', 'legend-entry'));
			entry.append(element('span', 'dot diff-' + kind), text);
		}
		head.append(element('span', 'field', 'Width'), width, legend, element('div', 'spread'), this.figures);
		this.scroller = element('div', 'graph-scroller diff-graph');
		const spacer = this.scroller.appendChild(element('div', 'graph-spacer'));
		const canvas = spacer.appendChild(element('canvas', 'graph-canvas'));
		canvas.tabIndex = 0;
		canvas.setAttribute('role', 'application');
		canvas.setAttribute('aria-roledescription', 'flame graph');
		canvas.setAttribute('aria-label', 'Differences');
		canvas.setAttribute('aria-describedby', 'spoken');
		const place = element('div', 'diff-rows');
		place.id = 'diff-rows';
		place.setAttribute('role', 'grid');
		place.setAttribute('aria-label', 'Functions by growth');
		root.append(head, this.scroller, place);
		this.graph = new FlameGraph(this.scroller, spacer, canvas, {
			onHover: (node, x, y) => this.hover(node, x, y),
			onOpen: (node) => this.open(node),
			onSelect: (node) => app.say(this.describe(node)),
		});
		this.table = new Table(place, { onOpen: (row) => app.openGroup(row, 'callers') });
	}

	update({ animate }) {
		const { app } = this;
		const { report, model, state } = app;
		const { groups, tones } = model.groupsOf(state);
		const before = reportBefore(report);
		const column = costColumn(state.metric, state.unit);
		const filter = model.filter(state);
		const whole = { ...state, split: '', recursion: '' };
		this.showWidth(state.diffWidth);
		const own = { before: exclusiveCosts(before, column, filter), after: exclusiveCosts(report, column, filter) };
		own.both = own.before.map((value, node) => value + own.after[node]);
		const key = [model.viewKey(whole), state.diffWidth].join('|');
		if (this.key !== key) {
			this.key = key;
			this.tree = buildTopDown(report.nodes, model.childrenOf(report), groups, model.hiddenOf(whole),
				own[state.diffWidth]);
			this.inclusive = [inclusiveCosts(report.nodes, own.before), inclusiveCosts(report.nodes, own.after)];
			this.nodeIntervals = state.unit === 'bytes' && growthIntervals(report, column, (costs) => [column, column + 1]
				.map((one) => inclusiveCosts(report.nodes, exclusiveSums(report, costs[one], filter))));
		}
		this.tree.focus = this.nodeOf(state.zoom);
		this.graph.show({
			report, view: this.tree, tones, shape: state.shape, animate, shades: (node, faded) => this.shade(node, faded),
		});
		const found = model.search(state);
		this.graph.setMatched(found && !found.error ? found.groups : null);
		this.graph.selected = this.tree.focus;
		const [old, now] = [sumCosts(before, filter)[column], sumCosts(report, filter)[column]];
		this.figures.textContent = formatValue(old, state.unit) + ' → ' + formatValue(now, state.unit) + '  ' +
			formatGrowth(now - old, state.unit) + (old ? ' (' + (now < old ? '−' : '+') +
			formatShare(Math.abs(now - old), old) + ')' : '') + this.intervalNote(old, now, column, filter);
		this.figures.title = formatExact(old) + ' → ' + formatExact(now);
		this.figures.dataset.before = String(old);
		this.figures.dataset.after = String(now);
		this.showRows(before, groups, whole, filter);
	}

	// How certain the difference of all that is selected is; '' where it is exact.
	intervalNote(old, now, column, filter) {
		const { report, state } = this.app;
		delete this.figures.dataset.interval;
		if (!report.spreads && !report.spreadsBefore)
			return '';
		if (state.unit !== 'bytes')
			return '  ≈ estimates, no interval here';
		const { growth } = growthIntervals(report, column, (costs) => sumCosts(withCosts(report, costs),
			filter))(old, now, (sums, one) => sums[one]);
		this.figures.dataset.interval = growth.join(' ');
		return '  95 %: ' + growthIntervalText(growth);
	}

	// What the address says is zoomed into, or the nearest to it that is drawn.
	nodeOf(zoom) {
		const { nodes } = this.app.report;
		let node = /^\d+$/.test(zoom) && Number(zoom) < nodes.count ? Number(zoom) : 0;
		while (node > 0 && this.tree.ofNode[node] < 0)
			node = nodes.parent[node];
		return nodes.count ? Math.max(0, this.tree.ofNode[node]) : 0;
	}

	open(node) {
		this.app.set({ inverted: '', zoom: node === 0 ? '' : String(this.tree.entries[this.tree.entryStart[node]]) });
	}

	valuesOf(node) {
		return costsOf(this.tree, node, this.inclusive);
	}

	shade(node, faded) {
		const colours = DIFF_COLOURS[this.app.theme];
		const [before, after] = this.valuesOf(node);
		const share = after === before ? 0 : Math.abs(after - before) / Math.max(before, after);
		const colour = mixColours(colours.same, after > before ? colours.grew : colours.shrank, share && 0.2 + 0.8 * share);
		return faded ? mixColours(colour, this.palette.paper, 0.7) : colour;
	}

	describe(node) {
		const { app, tree } = this;
		const { report, state } = app;
		const [before, after] = this.valuesOf(node);
		const column = costColumn(state.metric, 'bytes');
		const ranges = this.nodeIntervals && this.nodeIntervals(before, after, (pair, one) =>
			costsOf(tree, node, [pair[one - column]])[0]);
		return {
			name: node === 0 ? 'All stacks' : shorten(frameName(report, tree.groups, tree.group[node]), 300),
			place: shorten(framePlace(report, tree.groups, tree.group[node]), 300),
			figures: [['strong', formatGrowth(after - before, state.unit)],
				['', formatValue(before, state.unit) + ' → ' + formatValue(after, state.unit)],
				['muted', formatExactGrowth(after - before, state.unit)],
				...(ranges ? [['', '95 %: ' + growthIntervalText(ranges.growth)]] : [])],
		};
	}

	hover(node, x, y) {
		if (node < 0)
			this.app.tooltip.hide();
		else
			this.app.tooltip.show('diff ' + node, x, y, () => this.describe(node));
	}

	showRows(before, groups, state, filter) {
		const { app } = this;
		const { report, model } = app;
		const column = costColumn(state.metric, state.unit);
		const [old, now] = [before, report].map((one) => groupCosts(one, groups, model.hiddenOf(state),
			model.outermostOf(state), filter));
		const intervals = state.unit === 'bytes' && growthIntervals(report, column, (costs) => groupCosts(
			withCosts(report, costs), groups, model.hiddenOf(state), model.outermostOf(state), filter));
		const range = (row) => intervals(old.own[column][row], now.own[column][row], (sums, one) => sums.own[one][row]);
		const count = costColumn('total', 'count');
		const growth = (row) => now.own[column][row] - old.own[column][row];
		const rows = [];
		let most = 0;
		for (let row = 0; row < groups.count; row++) {
			if (groups.frame[row] === 0 || (growth(row) === 0 && now.all[column][row] === old.all[column][row]))
				continue;
			rows.push(row);
			most = Math.max(most, now.own[column][row], old.own[column][row]);
		}
		const word = (row) => changeWord(old.own[column][row], now.own[column][row], old.all[count][row],
			now.all[count][row]);
		const name = (row) => frameName(report, groups, row);
		const value = (key, label, costs) => ({
			key, label, className: 'number', width: '104px', descending: true, value: (row) => costs[column][row],
			fill: (cell, row) => fillValue(cell, costs[column][row], most, state.unit, intervals ? range(row)[key] : null),
		});
		const change = (key, label, of, title) => ({
			...numberColumn(key, label, '104px', of, (bytes) => formatGrowth(bytes, state.unit), title),
			fill: (cell, row) => {
				cell.textContent = formatGrowth(of(row), state.unit);
				cell.title = formatExactGrowth(of(row), state.unit);
				cell.dataset.exact = String(of(row));
				cell.dataset.change = of(row) > 0 ? 'grew' : of(row) < 0 ? 'shrank' : '';
			},
		});
		this.table.show({
			name: 'diff', rows, room: 240, sort: { key: 'growth', descending: true },
			emptyText: 'Nothing differs here.',
			columns: [
				{
					key: 'name', label: { line: 'Function', function: 'Function', module: 'Module' }[groups.by],
					className: 'wide', value: (row) => name(row).toLowerCase(),
					fill: (cell, row) => fillName(cell, 'k' + frameKind(report, groups, row), name(row),
						framePlace(report, groups, row)),
				},
				change('growth', 'Growth', growth, 'What it allocates itself'),
				...(intervals ? [intervalColumn((row) => range(row).growth)] : []),
				change('growth-all', 'With callees', (row) => now.all[column][row] - old.all[column][row],
					'With all that is called from it'),
				value('before', 'Before', old.own), value('after', 'After', now.own),
				{
					key: 'state', label: 'Is', width: '72px', value: word,
					fill: (cell, row) => {
						cell.textContent = word(row);
					},
				},
			],
		});
	}

	setTheme(palette) {
		this.palette = palette;
		const colours = DIFF_COLOURS[this.app.theme];
		for (const [name, colour] of Object.entries(colours))
			document.documentElement.style.setProperty('--diff-' + name, colour);
		this.graph.setTheme(palette);
	}

	drawing() {
		const { grew, shrank, same } = DIFF_COLOURS[this.app.theme];
		return withLegend(this.graph.drawing(), [[grew, 'grew'], [shrank, 'shrank'], [same, 'the same'],
			[this.palette.paper, this.figures.textContent]], this.palette);
	}

	draw() {
		this.graph.draw();
	}

	focus() {
		this.graph.canvas.focus();
	}
}

export const diffView = {
	name: 'diff',
	title: 'Differences',
	hint: 'what grew and what shrank against the other run',
	key: 'D',
	side: [],
	intervals: true,
	fields: { diffWidth: { letter: 'j', initial: 'both', accepts: ['both', 'after', 'before'] } },
	offered: (report) => !!report.before,
	create: (root, app) => new DiffView(root, app),
};
