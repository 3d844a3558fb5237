// SPDX-License-Identifier: MIT
// The summary: what a reader wants to know first, each as a short list that leads to the view with the rest, and all
// that
// is known about the run, as text that can be copied into a bug report.
import { button, element, legendEntry } from './dom.mjs';
import { frameKind, frameName, framePlace, metricLabel } from './details.mjs';
import { allBadges, reportFacts } from './header.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { formatBytes, formatCount, formatExact, formatExactValue, formatShare, formatValue } from './units.mjs';
import { shorten } from './units.mjs';
import { visibleText } from './units.mjs';

const ROWS = 8;

// The whole run as plain text: facts, figures, warnings, the largest functions.
export function summaryText(report, top) {
	const { meta } = report;
	const lines = [visibleText(meta.title), meta.writer, ''];
	for (const [name, text, exact] of reportFacts(meta))
		lines.push(name + ': ' + visibleText(text) + (exact && !exact.includes('\n') ? '  (' +
			visibleText(exact) + ')' : ''));
	lines.push('');
	if (meta.window)
		lines.push('Shown: ' + meta.window.title);
	for (const metric of METRICS) {
		lines.push(metricLabel(metric, meta) + ': ' + formatBytes(meta.total[costColumn(metric, 'bytes')]) + '  (' +
			formatExactValue(meta.total[costColumn(metric, 'bytes')], 'bytes') + ' in ' +
			formatExactValue(meta.total[costColumn(metric, 'count')], 'count') + ')');
	}
	const badges = allBadges(meta);
	if (badges.length)
		lines.push('', ...badges.map(({ label, text }) => visibleText(label + ': ' + text)));
	lines.push('', 'Largest:', ...top.map(({ value, share, name, place }) => [value, share, name, place].join('  ')));
	return lines.join('\n') + '\n';
}

class SummaryView {
	constructor(root, app) {
		this.app = app;
		this.root = root.appendChild(element('div', 'summary-grid'));
		this.root.tabIndex = -1;
	}

	update() {
		const { app } = this;
		const { model, state, report } = app;
		this.column = app.metricColumn();
		this.whole = model.sumOf(state);
		const label = metricLabel(state.metric, report.meta);
		this.root.replaceChildren(
			this.functionCard('Allocated most itself', label, 'own'),
			this.functionCard('Allocated most with all it called', label, 'all'),
			this.kindCard(), this.sizeCard(), this.runCard());
	}

	card(title, note, className = '') {
		const card = element('section', 'summary-card ' + className);
		const head = card.appendChild(element('div', 'summary-head'));
		head.append(element('h3', '', title), element('span', 'muted', note));
		return card;
	}

	// rows: [{ dot, name, place, value, whole, title, open }]
	list(card, rows, emptyText) {
		if (!rows.length)
			card.append(element('p', 'empty', emptyText));
		const list = card.appendChild(element('ol', 'summary-list'));
		for (const row of rows) {
			const line = element('button', 'summary-row');
			line.type = 'button';
			line.disabled = !row.open;
			const name = element('span', 'summary-name');
			name.append(element('span', 'name', row.name), element('span', 'place', row.place));
			const bar = element('span', 'summary-bar');
			bar.appendChild(element('span')).style.width = (row.whole > 0 ?
				Math.min(100, row.value / row.whole * 100) : 0) + '%';
			line.append(element('span', 'dot ' + row.dot), name, bar, element('span', 'figure', row.shown),
				element('span', 'muted summary-share', formatShare(row.value, row.whole)));
			line.title = row.title;
			line.dataset.exact = String(row.value);
			if (row.open)
				line.addEventListener('click', row.open);
			list.appendChild(element('li')).append(line);
		}
		return card;
	}

	functionCard(title, note, which) {
		const { app } = this;
		const { model, state, report } = app;
		const { groups } = model.groupsOf(state);
		const values = model.groupCosts(state)[which][this.column];
		const largest = this.largest(values);
		const rows = largest.map((group) => ({
			dot: 'k' + frameKind(report, groups, group), name: shorten(frameName(report, groups, group), 120),
			place: shorten(framePlace(report, groups, group), 160), value: values[group], whole: this.whole[this.column],
			shown: formatValue(values[group], state.unit), title: frameName(report, groups, group) + '\n' +
				framePlace(report, groups, group) + '\n' + formatExactValue(values[group], state.unit),
			open: () => app.openGroup(group, 'callers'),
		}));
		if (which === 'own')
			this.top = rows.map((row) => ({ ...row, value: row.shown, share: formatShare(row.value, row.whole) }));
		const card = this.list(this.card(title, note), rows, app.emptyText());
		const more = card.appendChild(button('summary-more', 'All in the table', '', () =>
			app.set({ view: 'table', table: 'functions' })));
		more.hidden = rows.length === 0;
		return card;
	}

	largest(values) {
		const { groups } = this.app.model.groupsOf(this.app.state);
		const found = [];
		for (let group = 0; group < values.length; group++) {
			if (values[group] > 0 && groups.frame[group] !== 0)
				found.push(group);
		}
		return found.sort((a, b) => values[b] - values[a] || a - b).slice(0, ROWS);
	}

	// Kinds of memory, and who served it.
	kindCard() {
		const { app } = this;
		const { meta } = app.report;
		const { state } = app;
		const when = meta.window ? meta.window.title : 'of the whole run';
		const card = this.card('Kinds of memory', metricLabel(state.metric, meta) + ', ' + when);
		const rows = [];
		meta.domains.forEach(({ name, costs }, i) => {
			if (costs[costColumn('total', 'count')] > 0) {
				const counted = app.countedDomains.includes(i);
				rows.push(this.kindRow('d' + i, counted ? name : name + ' (not counted)', costs, () =>
					app.set({ domain: String(i) })));
			}
		});
		this.list(card, rows, 'Nothing was allocated.');
		card.append(element('h4', '', 'By function of the allocator'));
		return this.list(card, Object.values(meta.allocators).sort((a, b) => b.costs[this.column] - a.costs[this.column])
			.slice(0, ROWS).map(({ name, costs }) => this.kindRow('k7', name, costs, null)), 'Nothing was allocated.');
	}

	kindRow(dot, name, costs, open) {
		const { app, column } = this;
		return {
			dot, name: visibleText(name), place: '', value: costs[column], whole: app.report.meta.total[column],
			shown: formatValue(costs[column], app.state.unit), title: METRICS.map((metric) =>
				metricLabel(metric, app.report.meta) + ' ' + formatExactValue(costs[costColumn(metric,
					'bytes')], 'bytes')).join('\n'),
			open,
		};
	}

	// How large allocations were: a bar for each power of two.
	sizeCard() {
		const { meta } = this.app.report;
		const card = this.card('Sizes', 'allocations of the whole run, by powers of two');
		const bins = meta.size_bins;
		const first = bins.findIndex(([, , count]) => count > 0);
		if (first < 0) {
			card.append(element('p', 'empty', 'Nothing was allocated.'));
			return card;
		}
		const last = bins.findLastIndex(([, , count]) => count > 0);
		const shown = bins.slice(first, last + 1);
		const most = [2, 3].map((column) => shown.reduce((max, bin) => Math.max(max, bin[column]), 1));
		const chart = card.appendChild(element('div', 'summary-sizes'));
		for (const [min, max, count, bytes] of shown) {
			const bar = chart.appendChild(element('div', 'summary-size'));
			bar.title = (min === max ? formatExact(min) : formatExact(min) + ' to ' + formatExact(max)) + ' bytes: ' +
				formatExact(count) + ' allocations, ' + formatExact(bytes) + ' bytes';
			const columns = bar.appendChild(element('div', 'summary-columns'));
			columns.appendChild(element('span', 'summary-count')).style.height = (count / most[0] * 100).toFixed(1) + '%';
			columns.appendChild(element('span', 'summary-bytes')).style.height = (bytes / most[1] * 100).toFixed(1) + '%';
			bar.append(element('span', 'summary-label', formatBytes(min).replace(/\.00|iB/g, '').replace(' ', '')));
		}
		const legend = card.appendChild(element('div', 'legend'));
		legend.append(legendEntry('summary-count', 'allocations'), legendEntry('summary-bytes', 'bytes'),
			element('span', '', formatCount(meta.free_count) + ' freed'));
		return card;
	}

	runCard() {
		const { app } = this;
		const { meta } = app.report;
		const card = this.card('The run', meta.writer, 'summary-run');
		const list = card.appendChild(element('dl', 'summary-facts'));
		const add = (name, text, title = '') => {
			list.append(element('dt', '', name));
			const value = list.appendChild(element('dd', '', text));
			value.title = title;
		};
		add('Command', shorten(visibleText(meta.title), 600));
		for (const [name, text, exact] of reportFacts(meta))
			add(name, shorten(visibleText(text), 200), visibleText(exact).replaceAll('‹000A›', '\n'));
		for (const { label, text } of allBadges(meta))
			add(visibleText(label), shorten(visibleText(text).replaceAll('‹000A›', '; '), 400));
		const copied = element('output', 'muted');
		card.append(button('toggle', 'Copy as text', 'For a bug report', async () => {
			try {
				await navigator.clipboard.writeText(summaryText(app.report, this.top));
				copied.textContent = 'copied';
			} catch {
				copied.textContent = 'this browser does not let the page copy';
			}
		}), copied);
		return card;
	}

	focus() {
		this.root.focus();
	}
}

export const summaryView = {
	name: 'summary',
	title: 'Summary',
	hint: 'what took most, and all that is known about the run',
	key: 'U',
	side: [],
	create: (root, app) => new SummaryView(root, app),
};
