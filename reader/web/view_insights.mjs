// SPDX-License-Identifier: MIT
// Insights: what the analyses found, those that are worth a look first and open.  All of it comes with the page, in
// meta.insights (formats/report.md): a sentence, a table by place, and how it is known.  A click on a place shows who
// calls it.
import { button, element } from './dom.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';
import { formatBytes, formatCount, formatExact, formatTime, shorten, visibleText } from './units.mjs';

const INSIGHT_ROWS = 6;

// A value of an analysis as text, and exactly.
export function insightValue(report, unit, value) {
	const { threads, strings } = report;
	if (value === null)
		return unit === 'thread' ? ['unknown', ''] : ['longer', ''];
	switch (unit) {
	case 'bytes':
		return [formatBytes(value), formatExact(value) + ' bytes'];
	case 'ns':
		return [value ? formatTime(value / 1000) : '–', formatExact(value) + ' ns'];
	case 'permille':
		return [(value / 10).toFixed(1) + ' %', ''];
	case 'address':
		return ['0x' + value.toString(16), ''];
	case 'thread': {
		const name = visibleText(shorten(strings[threads.name[value]] || '', 40));
		return [(name ? name + ' ' : '') + threads.tid[value], ''];
	}
	default:
		return [formatCount(value), formatExact(value)];
	}
}

// What a bin of a series reaches from and to.
export function binText(report, series, bin) {
	const text = (value) => insightValue(report, series.bin_unit, value)[0];
	const from = bin ? series.ends[bin - 1] : 0;
	return series.ends[bin] === null ? 'from ' + text(from) : (from ? text(from) : '0') + ' to ' + text(series.ends[bin]);
}

class InsightsView {
	constructor(root, app) {
		this.app = app;
		this.all = new Set();
		this.root = root.appendChild(element('div', 'insights-list'));
		this.root.tabIndex = 0;
		this.root.setAttribute('aria-label', 'Insights');
	}

	// The view does not depend on the state: filters of the page choose sites, and these rows were joined before.
	update() {
		if (this.root.childElementCount)
			return;
		const { insights } = this.app.report.meta;
		const worth = insights.filter((insight) => insight.notable);
		const rest = insights.filter((insight) => !insight.notable);
		this.root.append(element('p', 'muted insights-lead',
			'Of the whole capture, as sctmem insights shows it; the filters above do not change it.'));
		this.root.append(...worth.map((insight) => this.card(insight, true)));
		if (rest.length)
			this.root.append(element('h3', 'insights-rest', 'Nothing remarkable'));
		this.root.append(...rest.map((insight) => this.card(insight, false)));
	}

	card(insight, open) {
		const card = element('details', 'insights-card');
		card.open = open;
		card.id = 'insights-' + insight.name;
		const summary = card.appendChild(element('summary'));
		summary.append(element('span', 'insights-title', insight.title), element('span', 'insights-headline',
			insight.headline));
		for (const table of insight.tables)
			card.append(this.table(insight, table));
		if (insight.facts.length)
			card.append(this.facts(insight.facts));
		if (insight.note)
			card.append(element('p', 'muted insights-note', insight.note));
		return card;
	}

	facts(facts) {
		const list = element('dl', 'insights-facts');
		for (const [key, title, unit, value] of facts) {
			const [text, exact] = insightValue(this.app.report, unit, value);
			const shown = element('dd', '', text);
			shown.title = exact;
			shown.dataset.fact = key;
			shown.dataset.exact = String(value);
			list.append(element('dt', '', title), shown);
		}
		return list;
	}

	table(insight, table) {
		const place = element('div', 'insights-table' + (table.by_place ? '' : ' insights-narrow'));
		place.dataset.table = table.name;
		const body = place.appendChild(element('table'));
		const head = body.appendChild(element('thead')).appendChild(element('tr'));
		for (const [, title, unit] of table.columns)
			head.append(element('th', unit === 'thread' ? '' : 'number', title));
		if (table.series)
			head.append(element('th', '', table.series.title));
		if (table.by_place)
			head.append(element('th', 'wide', 'place'));
		const rows = body.appendChild(element('tbody'));
		const fill = (count) => rows.replaceChildren(...table.rows.slice(0, count).map((row) => this.row(table, row)));
		fill(INSIGHT_ROWS);
		if (table.rows.length > INSIGHT_ROWS) {
			const more = button('insights-more', 'All ' + table.rows.length + (table.row_count > table.rows.length ?
				' of ' + formatExact(table.row_count) : ''), '', () => {
				fill(table.rows.length);
				more.remove();
			});
			place.append(more);
		} else if (!table.rows.length) {
			rows.append(element('tr'));
			rows.firstChild.append(element('td', 'muted', 'No place has any.'));
		}
		return place;
	}

	row(table, [frame, node, values, series]) {
		const { report } = this.app;
		const line = element('tr');
		line.dataset.node = node;
		values.forEach((value, i) => {
			const [, , unit] = table.columns[i];
			const [text, exact] = insightValue(report, unit, value);
			const cell = line.appendChild(element('td', unit === 'thread' ? '' : 'number', text));
			cell.title = exact;
			cell.dataset.exact = String(value);
		});
		if (table.series)
			line.append(this.bars(table.series, series));
		if (table.by_place)
			line.append(this.place(frame));
		return line;
	}

	bars(series, values) {
		const { report } = this.app;
		const cell = element('td', 'insights-bars');
		const most = Math.max(...values);
		const used = series.ends.length - [...values].reverse().findIndex((value) => value > 0);
		const bars = cell.appendChild(element('div'));
		bars.setAttribute('role', 'img');
		bars.setAttribute('aria-label', series.title);
		values.forEach((value, bin) => {
			const bar = bars.appendChild(element('span'));
			bar.style.height = value ? Math.max(8, value / most * 100) + '%' : '0';
			if (value)
				bar.title = binText(report, series, bin) + ': ' + insightValue(report, series.unit, value)[1];
			bar.hidden = bin >= used && series.ends[bin] === undefined;
		});
		return cell;
	}

	place(frame) {
		const { app } = this;
		const { groups } = app.model.groupsOf({ ...app.state, group: 'line' });
		const group = groups.of[frame];
		const cell = element('td', 'wide');
		const name = visibleText(shorten(frameName(app.report, groups, group), 160));
		const link = cell.appendChild(button('insights-place', '', '', () =>
			app.openGroup(app.model.groupsOf(app.state).groups.of[frame], 'callers')));
		link.append(element('span', 'dot k' + frameKind(app.report, groups, group)), element('span', 'name', name),
			element('span', 'place', visibleText(shorten(framePlace(app.report, groups, group), 120))));
		return cell;
	}

	focus() {
		this.root.focus();
	}
}

export const insightsView = {
	name: 'insights', title: 'Insights', hint: 'what the analyses found', key: 'I', side: [],
	offered: ({ meta }) => !!meta.insights?.length,
	create: (root, app) => new InsightsView(root, app),
};
