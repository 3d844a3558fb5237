// SPDX-License-Identifier: MIT
// The controls that concern all views: what is measured, search, grouping, filters, hidden frames.
import { byId, choiceButtons, element } from './dom.mjs';
import { metricLabel, shownMetrics } from './details.mjs';
import { blocksText, blocksTitle, intervalText, intervalTitle, isEstimate } from './intervals.mjs';
import { frameCategory } from './palette.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { threadLabel } from './rows.mjs';
import { formatBytes, formatCount, formatExact, formatExactValue, formatShare, formatTime } from './units.mjs';
import { formatValue } from './units.mjs';

const SEARCH_DELAY_MS = 120;

function option(value, text) {
	const made = element('option', '', text);
	made.value = value;
	return made;
}

export class Controls {
	constructor(app) {
		this.app = app;
		this.showMetric = choiceButtons(byId('metrics'), METRICS.map((metric) => [metric]), (metric) => app.set({ metric }));
		for (const made of byId('metrics').children) {
			made.className = 'metric';
			made.append(element('span', 'metric-name'),
				element('span', 'metric-value'), element('span', 'metric-note'), element('span', 'metric-interval'));
		}
		this.showUnit = choiceButtons(byId('unit'), [['bytes', 'Bytes'], ['count', 'Blocks']], (unit) => app.set({ unit }));
		byId('group').addEventListener('change', (event) => app.set({ group: event.target.value }));
		for (const made of document.querySelectorAll('[data-hide]'))
			made.addEventListener('click', () => app.hide(made.dataset.hide));
		byId('search').addEventListener('input', () => {
			clearTimeout(this.searchTimer);
			this.searchTimer = setTimeout(() => app.set({ search: byId('search').value }, false), SEARCH_DELAY_MS);
		});
		this.buildFilters();
		this.buildHides();
	}

	buildFilters() {
		const { app } = this;
		const { threads, sites, meta } = app.report;
		const bytes = new Float64Array(threads.count);
		for (let i = 0; i < sites.count; i++)
			bytes[sites.thread[i]] += sites.counted[i] ? sites.costs[0][i] : 0;
		const used = [...threads.tid.keys()].sort((a, b) => bytes[b] - bytes[a] || a - b);
		byId('thread').replaceChildren(option('', 'all ' + formatExact(used.length)),
			...used.map((i) => option(String(i), threadLabel(app.report, i))));
		byId('thread-field').hidden = used.length < 2;
		const domains = meta.domains.map((domain, i) => ({ ...domain, i })).filter(({ costs }) => costs[1] > 0);
		byId('domain').replaceChildren(option('', 'all counted'), ...domains.map(({ name, i }) =>
			option(String(i), app.countedDomains.includes(i) ? name : name + ' (not counted)')));
		byId('domain-field').hidden = domains.length < 2;
		byId('thread').addEventListener('change', (event) => app.set({ thread: event.target.value }));
		byId('domain').addEventListener('change', (event) => app.set({ domain: event.target.value }));
	}

	// Only what this page has can be hidden.
	buildHides() {
		const { frames } = this.app.report;
		const kinds = new Set();
		for (let i = 1; i < frames.count; i++)
			kinds.add(frameCategory(frames.kind[i], frames.flags[i]));
		for (const [letter, ...categories] of [['i', 6, 7], ['m', 3], ['l', 2, 5]])
			document.querySelector('[data-hide=' + letter + ']').hidden = !categories.some((category) => kinds.has(category));
		document.querySelector('.hides').hidden = !document.querySelector('[data-hide]:not([hidden])');
	}

	update() {
		const { state } = this.app;
		this.updateMetrics();
		this.showUnit(state.unit);
		byId('group').value = state.group;
		byId('thread').value = state.thread;
		byId('domain').value = state.domain;
		for (const made of document.querySelectorAll('[data-hide]'))
			made.setAttribute('aria-pressed', String(state.hide.includes(made.dataset.hide)));
		if (byId('search').value !== state.search)
			byId('search').value = state.search;
		this.updateSearch();
	}

	updateMetrics() {
		const { model, state, report } = this.app;
		const sums = model.sumOf(state);
		const filtered = state.thread !== '' || state.domain !== '';
		const { meta } = report;
		const intervals = model.intervalsOfAll(state);
		const whole = filtered ? model.sumOf({ ...state, thread: '', domain: '' }) : sums;
		this.showMetric(state.metric);
		for (const made of byId('metrics').children) {
			const metric = made.dataset.value;
			const [bytes, count] = [sums[costColumn(metric, 'bytes')], sums[costColumn(metric, 'count')]];
			const all = whole[costColumn(metric, 'bytes')];
			const [name, value, note, range] = made.children;
			const interval = intervals?.[metric];
			name.textContent = metricLabel(metric, meta);
			made.hidden = !shownMetrics(meta, state.metric).includes(metric);
			value.textContent = formatBytes(bytes);
			range.textContent = interval ? (isEstimate(interval) ? '95 %: ' : '') + intervalText(interval) : '';
			const notes = [blocksText(formatCount(count) + (count === 1 ? ' block' : ' blocks'), interval)];
			if (meta.before && !filtered)
				notes.push('before ' + (meta.before_run.sample ? '≈ ' : '') +
					formatBytes(meta.before[costColumn(metric, 'bytes')]));
			else if (filtered && !state.domain)
				notes.push(formatShare(bytes, all) + ' of all');
			else if (meta.window)
				notes.push(meta.window.notes[metric]);
			else if (metric === 'peak')
				notes.push('at ' + formatTime(meta.peak_time_us));
			else if (metric === 'leaked' && meta.at_time_us < meta.duration_us)
				notes.push('at ' + formatTime(meta.at_time_us));
			note.textContent = notes.join(' · ');
			made.title = formatExact(bytes) + ' bytes in ' + blocksTitle(formatExact(count) + ' blocks', interval) +
				(isEstimate(interval) ? '\n' + intervalTitle(interval) : '');
			made.dataset.bytes = String(bytes);
			made.dataset.count = String(count);
		}
	}

	updateSearch() {
		const { model, state } = this.app;
		const found = model.search(state);
		const result = byId('search-result');
		result.className = found?.error ? 'bad' : '';
		result.title = '';
		delete result.dataset.exact;
		byId('search').setAttribute('aria-invalid', String(!!found?.error));
		if (!found) {
			result.textContent = '';
		} else if (found.error) {
			result.textContent = found.error;
		} else {
			const whole = model.wholeOf(state);
			result.textContent = found.count ? formatShare(found.value, whole) + ' · ' + formatValue(found.value, state.unit) :
				'no match';
			result.title = formatExactValue(found.value, state.unit) + ' in stacks with a match; ' + formatExact(found.count) +
				' matching';
			result.dataset.exact = String(found.value);
		}
	}
}
