// SPDX-License-Identifier: MIT
// The two tables: functions (or lines, or modules) with own and inclusive cost, and allocation sites.
import { element } from './dom.mjs';
import { frameKind, frameName, framePlace, metricLabel, shownMetrics } from './details.mjs';
import { intervalTitle, isEstimate } from './intervals.mjs';
import { costColumn, siteSelected } from './tree.mjs';
import { formatCount, formatExact, formatExactValue, formatShare, formatValue, shorten } from './units.mjs';
import { visibleText } from './units.mjs';

const NAME_SHOWN = 160;

// Cells are made once and filled often, as the table scrolls.
export function fillName(cell, dotClass, name, place) {
	if (!cell.firstChild) {
		const line = element('div', 'name-line');
		line.append(element('span'), element('span', 'name'));
		cell.append(line, element('div', 'place'));
	}
	const [line, second] = cell.children;
	line.firstChild.className = 'dot ' + dotClass;
	line.lastChild.textContent = shorten(name, NAME_SHOWN);
	second.textContent = shorten(place, NAME_SHOWN);
	cell.title = name + (place ? '\n' + place : '');
}

// interval: of the bytes, in a page of a sample.
export function fillValue(cell, value, whole, unit, interval = null) {
	if (!cell.firstChild) {
		const bar = element('span', 'bar');
		cell.append(bar, element('div', 'figure'), element('div', 'place'));
	}
	const [bar, figure, share] = cell.children;
	bar.style.width = (whole > 0 ? Math.min(100, value / whole * 100) : 0).toFixed(2) + '%';
	figure.textContent = formatValue(value, unit);
	share.textContent = formatShare(value, whole);
	cell.title = formatExactValue(value, unit) + (isEstimate(interval) ? '\n' + intervalTitle(interval) : '');
	cell.dataset.exact = String(value);
	if (interval)
		cell.dataset.interval = interval.join(' ');
}

// Lower-case words, all of which must be in what is filtered.
export function textFilter(text) {
	const words = text.toLowerCase().split(/\s+/).filter((word) => word);
	return (candidate) => {
		const lower = candidate.toLowerCase();
		return words.every((word) => lower.includes(word));
	};
}

// intervals: of groups, see model.mjs.
export function functionTable({ report, groups, table, intervals, whole, state, filter }) {
	const accepts = textFilter(filter);
	const name = (group) => frameName(report, groups, group);
	const place = (group) => framePlace(report, groups, group);
	const rows = filter ? table.groups.filter((group) => accepts(name(group) + ' ' + place(group))) : table.groups;
	const { unit } = state;
	const value = (cell, group, which) => fillValue(cell, table[which][group], whole, unit,
		unit === 'bytes' ? intervals?.(which, group, costColumn(state.metric, unit)) : null);
	const label = { line: 'Line', function: 'Function', module: 'Module' }[groups.by];
	return {
		name: 'functions', rows, sort: { key: 'own', descending: true },
		columns: [
			{
				key: 'name', label, className: 'wide', value: (group) => name(group).toLowerCase(),
				fill: (cell, group) => fillName(cell, 'k' + frameKind(report, groups, group), name(group), place(group)),
			},
			{
				key: 'own', label: 'Own', className: 'number', width: '88px', descending: true, title: 'Allocated here itself',
				value: (group) => table.own[group], fill: (cell, group) => value(cell, group, 'own'),
			},
			{
				key: 'all', label: 'Inclusive', className: 'number', width: '88px', descending: true,
				title: 'Allocated here and in all that is called from here; recursion counts once',
				value: (group) => table.all[group], fill: (cell, group) => value(cell, group, 'all'),
			},
		],
	};
}

export function threadLabel(report, i) {
	const { threads, strings, meta } = report;
	const name = visibleText(shorten(strings[threads.name[i]], 40));
	const capture = meta.captures.length > 1 && meta.captures[threads.capture[i]];
	return (name ? name + ' · ' : '') + threads.tid[i] + (capture ? ' in ' + capture.pid : '');
}

// interval: of a site's bytes.
export function siteTable({ report, groups, interval, siteFilter, whole, state, filter }) {
	const { sites, nodes, meta } = report;
	const accepts = textFilter(filter);
	const costs = sites.costs[costColumn(state.metric, state.unit)];
	const other = state.unit === 'bytes' ? 'count' : 'bytes';
	const others = sites.costs[costColumn(state.metric, other)];
	const group = (site) => groups.of[nodes.frame[sites.node[site]]];
	const name = (site) => frameName(report, groups, group(site));
	const place = (site) => framePlace(report, groups, group(site));
	const allocator = (site) => meta.allocators[sites.allocator[site]]?.name || '?';
	const domain = (site) => meta.domains[sites.domain[site]]?.name || '?';
	const rows = [];
	const words = (site) => [name(site), place(site), allocator(site), domain(site),
		threadLabel(report, sites.thread[site])].join(' ');
	for (let site = 0; site < sites.count; site++) {
		if (costs[site] > 0 && siteSelected(sites, site, siteFilter) && (!filter || accepts(words(site))))
			rows.push(site);
	}
	return {
		name: 'sites', rows, sort: { key: 'value', descending: true },
		columns: [
			{
				key: 'name', label: 'Site', className: 'wide', value: (site) => name(site).toLowerCase(),
				fill: (cell, site) => fillName(cell, 'k' + frameKind(report, groups, group(site)), name(site), place(site)),
			},
			{
				key: 'allocator', label: 'By', className: 'by', width: '92px', value: (site) =>
					allocator(site) + '/' + sites.thread[site],
				fill: (cell, site) => fillName(cell, 'd' + sites.domain[site], allocator(site),
					threadLabel(report, sites.thread[site])),
			},
			{
				key: 'value', label: state.unit === 'bytes' ? 'Bytes' : 'Blocks', className: 'number',
					width: '78px', descending: true,
				value: (site) => costs[site],
				fill: (cell, site) => fillValue(cell, costs[site], whole, state.unit,
					state.unit === 'bytes' ? interval(site, costColumn(state.metric, 'bytes')) : null),
			},
			{
				key: 'other', label: state.unit === 'bytes' ? 'Blocks' : 'Bytes', className: 'number narrow', width: '66px',
				descending: true,
				value: (site) => others[site],
				fill: (cell, site) => {
					cell.textContent = other === 'count' ? formatCount(others[site]) : formatValue(others[site], other);
					cell.title = formatExactValue(others[site], other);
				},
			},
		],
	};
}

// Of a window of time the metrics have longer names.
export function metricWidth(meta) {
	return meta.window ? '126px' : '96px';
}

// One column for each metric, of bytes or blocks: value(row, column of the eight costs), whole: the eight sums;
// interval(row, column), of bytes.
export function metricColumns(meta, { metric: chosen, unit }, value, whole, interval = null) {
	return shownMetrics(meta, chosen).map((metric) => {
		const column = costColumn(metric, unit);
		return {
			key: metric, label: metricLabel(metric, meta), className: 'number', width: metricWidth(meta), descending: true,
			value: (row) => value(row, column),
			fill: (cell, row) => fillValue(cell, value(row, column), whole[column], unit,
				unit === 'bytes' ? interval?.(row, column) : null),
		};
	});
}

export function textColumn(key, label, width, text, title = text) {
	return {
		key, label, width, value: text,
		fill: (cell, row) => {
			cell.textContent = shorten(text(row), NAME_SHOWN);
			cell.title = title(row);
		},
	};
}

export function numberColumn(key, label, width, number, format, title = '') {
	return {
		key, label, width, title, className: 'number', descending: true, value: number,
		fill: (cell, row) => {
			cell.textContent = format(number(row));
			cell.title = formatExact(number(row));
			cell.dataset.exact = String(number(row));
		},
	};
}
