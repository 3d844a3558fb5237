// SPDX-License-Identifier: MIT
// The page: joins the model, the views and the controls.  One state, kept in the address; every control changes the
// state, and `update` makes the page show it.
import { frameName, framePlace, element, metricLabel, showDetails } from './details.mjs';
import { CATEGORIES, frameCategory, themePalette } from './palette.mjs';
import { FlameGraph } from './flame.mjs';
import { Model } from './model.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { STATE_DEFAULTS, stateFromHash, stateToHash } from './state.mjs';
import { Table } from './table.mjs';
import { Timeline } from './timeline.mjs';
import { commandLine, reportBadges, reportFacts } from './header.mjs';
import { fillHelp } from './help.mjs';
import { formatBytes, formatCount, formatExact, formatExactValue, formatShare, formatTime } from './units.mjs';
import { formatValue, shorten, visibleText } from './units.mjs';
import { functionTable, siteTable, threadLabel } from './rows.mjs';

const SEARCH_DELAY_MS = 120;
const CRUMBS_MAX = 5;
const $ = (id) => document.getElementById(id);

// One of several: buttons that behave as radio buttons do.
function radioButtons(root, options, choose) {
	const buttons = options.map(([value, fill]) => {
		const button = element('button');
		button.type = 'button';
		button.setAttribute('role', 'radio');
		button.dataset.value = value;
		if (typeof fill === 'string')
			button.textContent = fill;
		button.addEventListener('click', () => choose(value));
		return button;
	});
	root.replaceChildren(...buttons);
	root.addEventListener('keydown', (event) => {
		const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
		const at = buttons.indexOf(document.activeElement);
		if (!step || at < 0)
			return;
		event.preventDefault();
		const next = buttons[(at + step + buttons.length) % buttons.length];
		next.focus();
		choose(next.dataset.value);
	});
	return (value) => buttons.forEach((button) => {
		button.setAttribute('aria-checked', String(button.dataset.value === value));
		button.tabIndex = button.dataset.value === value ? 0 : -1;
	});
}

export class App {
	constructor(report) {
		this.report = report;
		this.model = new Model(report);
		this.filterText = '';
		this.shown = -1;
		const { meta } = report;
		this.defaults = { ...STATE_DEFAULTS, metric: meta.metric, inverted: meta.inverted ? '1' : '' };
		this.state = stateFromHash(location.hash, this.defaults);
		this.buildHeader();
		this.buildControls();
		this.buildViews();
		this.bindKeys();
		this.setTheme(this.storedTheme() || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
		addEventListener('hashchange', () => this.follow());
		addEventListener('popstate', () => this.follow());
		this.update(false);
	}

	// The address was changed: by back and forward, or by hand.
	follow() {
		const state = stateFromHash(location.hash, this.defaults);
		if (stateToHash(state, this.defaults) === stateToHash(this.state, this.defaults))
			return;
		this.state = state;
		this.update(true);
	}

	// record: false for what is typed letter by letter, so that Back does not undo letters.
	set(changes, record = true) {
		const before = stateToHash(this.state, this.defaults);
		this.state = { ...this.state, ...changes };
		const hash = stateToHash(this.state, this.defaults);
		if (hash === before)
			return;
		try {
			history[record ? 'pushState' : 'replaceState'](null, '', '#' + hash);
		} catch {
			// Some browsers allow a local file only so many of these: the view works, its address lags.
		}
		this.update('zoom' in changes);
	}

	buildHeader() {
		const { meta } = this.report;
		const words = meta.captures[0]?.arguments || [];
		const title = visibleText(meta.title && meta.title !== words.join(' ') ? meta.title : commandLine(words));
		$('title').textContent = shorten(title, 400) || 'unnamed program';
		$('title').title = shorten(title, 4000);
		const badges = reportBadges(meta);
		const sums = this.model.sumOf({ thread: '', domain: '' });
		if (!meta.clamped && sums.some((sum, i) => sum !== meta.total[i])) {
			badges.unshift({ level: 'bad', label: 'sums differ',
				text: 'The sites of this page do not add up to its totals; please report this.' });
		}
		$('badges').replaceChildren(...badges.map(({ level, label, text }) => {
			const badge = element('span', 'badge ' + level, visibleText(label));
			badge.title = visibleText(text).replaceAll('‹000A›', '\n');
			badge.setAttribute('role', 'listitem');
			badge.tabIndex = 0;
			badge.setAttribute('aria-label', visibleText(label + ': ' + text));
			return badge;
		}));
		$('facts').replaceChildren(...reportFacts(meta).map(([name, text, exact]) => {
			const fact = element('div');
			const value = element('dd', '', shorten(visibleText(text), 80));
			fact.append(element('dt', '', name), value);
			fact.title = exact;
			return fact;
		}));
		fillHelp($('help-dialog'), meta.writer);
	}

	buildControls() {
		const { meta } = this.report;
		this.showMetric = radioButtons($('metrics'), METRICS.map((metric) => [metric, null]),
			(metric) => this.set({ metric }));
		for (const button of $('metrics').children) {
			button.className = 'metric';
			button.append(element('span', 'metric-name', metricLabel(button.dataset.value, meta)),
				element('span', 'metric-value'), element('span', 'metric-note'));
		}
		this.showUnit = radioButtons($('unit'), [['bytes', 'Bytes'], ['count', 'Blocks']], (unit) => this.set({ unit }));
		this.showShape = radioButtons($('shape'), [['icicle', 'Icicle'], ['flame', 'Flame']],
			(shape) => this.set({ shape }));
		this.showTable = radioButtons($('table-kind'), [['functions', 'Functions'], ['sites', 'Sites']],
			(table) => this.set({ table }, false));
		$('inverted').addEventListener('click', () => this.invert());
		$('reset').addEventListener('click', () => this.set({ zoom: '' }));
		$('group').addEventListener('change', (event) => this.set({ group: event.target.value }));
		for (const button of document.querySelectorAll('[data-hide]'))
			button.addEventListener('click', () => this.hide(button.dataset.hide));
		$('theme').addEventListener('click', () => this.toggleTheme());
		$('help').addEventListener('click', () => $('help-dialog').showModal());
		$('skip').addEventListener('click', (event) => {
			event.preventDefault();
			$('graph-canvas').focus();
		});
		$('search').addEventListener('input', () => {
			clearTimeout(this.searchTimer);
			this.searchTimer = setTimeout(() => this.set({ search: $('search').value }, false), SEARCH_DELAY_MS);
		});
		$('filter').addEventListener('input', () => {
			this.filterText = $('filter').value;
			this.updateTable();
		});
		this.buildFilters();
	}

	buildFilters() {
		const { threads, sites, meta } = this.report;
		const bytes = new Float64Array(threads.count);
		const counted = new Set();
		for (let i = 0; i < sites.count; i++) {
			bytes[sites.thread[i]] += sites.counted[i] ? sites.costs[0][i] : 0;
			if (sites.counted[i])
				counted.add(sites.domain[i]);
		}
		this.counted = [...counted].sort((a, b) => a - b);
		const option = (value, text) => {
			const made = element('option', '', text);
			made.value = value;
			return made;
		};
		const used = [...threads.tid.keys()].sort((a, b) => bytes[b] - bytes[a] || a - b);
		$('thread').replaceChildren(option('', 'all ' + formatExact(used.length)),
			...used.map((i) => option(String(i), threadLabel(this.report, i))));
		$('thread-field').hidden = used.length < 2;
		const domains = meta.domains.map((domain, i) => ({ ...domain, i })).filter(({ costs }) => costs[1] > 0);
		$('domain').replaceChildren(option('', 'all counted'),
			...domains.map(({ name, i }) => option(String(i), counted.has(i) ? name : name + ' (not counted)')));
		$('domain-field').hidden = domains.length < 2;
		$('thread').addEventListener('change', (event) => this.set({ thread: event.target.value }));
		$('domain').addEventListener('change', (event) => this.set({ domain: event.target.value }));
		this.buildLegends();
	}

	// Only the kinds of frames and of memory that this page has.
	buildLegends() {
		const { frames } = this.report;
		const kinds = new Set();
		for (let i = 1; i < frames.count; i++)
			kinds.add(frameCategory(frames.kind[i], frames.flags[i]));
		const entry = (className, text) => {
			const made = element('span', 'legend-entry');
			made.append(element('span', 'dot ' + className), text);
			return made;
		};
		$('graph-legend').replaceChildren(...[...kinds].sort((a, b) => a - b)
			.map((i) => entry('k' + i, CATEGORIES[i].label)));
		for (const [letter, ...categories] of [['i', 6, 7], ['m', 3], ['l', 2, 5]])
			document.querySelector('[data-hide=' + letter + ']').hidden = !categories.some((category) => kinds.has(category));
	}

	buildViews() {
		this.graph = new FlameGraph($('graph-scroller'), $('graph-spacer'), $('graph-canvas'), {
			onHover: (node, x, y) => this.hoverNode(node, x, y),
			onOpen: (node) => this.open(node),
			onSelect: (node) => this.speak(node),
		});
		this.table = new Table($('table'), { onOpen: (row) => this.openRow(row) });
		this.timeline = new Timeline($('time-canvas'), { onHover: (point) => this.readOut(point) });
		this.timeline.show(this.report, this.counted);
		const { count, resident } = this.report.timeline;
		$('time-empty').hidden = count > 0;
		$('time-canvas').hidden = count === 0;
		this.hasResident = resident.some((bytes) => bytes > 0);
		this.timeline.resident = this.hasResident;
		$('time-resident').hidden = !this.hasResident;
		$('time-stacked').hidden = this.timeline.domains.length < 2;
		$('time-stacked').addEventListener('click', () => this.toggleTimeline('stacked', $('time-stacked')));
		$('time-resident').addEventListener('click', () => this.toggleTimeline('resident', $('time-resident')));
		this.timeLegend();
		this.readOut(-1);
	}

	toggleTimeline(what, button) {
		this.timeline[what] = !this.timeline[what];
		button.setAttribute('aria-pressed', String(this.timeline[what]));
		this.timeLegend();
		this.timeline.schedule();
	}

	timeLegend() {
		const { meta } = this.report;
		const entries = this.timeline.stacked ? this.timeline.domains.map((i) => ['d' + i, meta.domains[i].name]) :
			[['line-live', 'live']];
		if (this.timeline.resident)
			entries.push(['line-resident', 'resident']);
		$('time-legend').replaceChildren(...entries.map(([className, text]) => {
			const made = element('span', 'legend-entry');
			made.append(element('span', 'dot ' + className), text);
			return made;
		}));
	}

	readOut(point) {
		const { timeline, meta } = this.report;
		if (point < 0) {
			$('time-readout').textContent = timeline.count ? 'peak at ' + formatTime(meta.peak_time_us) : '';
			$('time-readout').title = '';
			return;
		}
		const parts = [formatTime(timeline.time[point]), 'live ' + formatBytes(timeline.live[point])];
		if (this.timeline.stacked)
			parts.push(...this.timeline.domains.map((i) => meta.domains[i].name + ' ' +
				formatBytes(timeline.domains[i][point])));
		else if (timeline.liveMax[point] > timeline.live[point])
			parts.push('max ' + formatBytes(timeline.liveMax[point]));
		if (timeline.resident[point])
			parts.push('resident ' + formatBytes(timeline.resident[point]));
		const span = timeline.time[point] - (point ? timeline.time[point - 1] : 0);
		if (span > 0)
			parts.push(formatBytes(timeline.allocatedBytes[point] / span * 1e6) + '/s');
		const mark = meta.marks.find(([time]) => Math.abs(time - timeline.time[point]) <= span);
		if (mark)
			parts.push('◆ ' + visibleText(shorten(mark[1], 40)));
		$('time-readout').textContent = parts.join('  ·  ');
		$('time-readout').title = formatExact(timeline.live[point]) + ' bytes live';
	}

	// Makes the page show the state.
	update(animate) {
		const { model, state } = this;
		this.view = model.view(state);
		const { tones } = model.groupsOf(state);
		this.updateMetrics();
		this.updateControls();
		this.graph.show({ report: this.report, view: this.view, tones, shape: state.shape, animate });
		this.updateSearch();
		this.updateTable();
		this.updateCrumbs();
		const whole = model.wholeOf(state);
		$('graph-empty').hidden = whole > 0;
		$('graph-empty').textContent = this.emptyText();
		$('graph-scroller').hidden = whole === 0;
		this.graph.selected = this.view.focus;
		this.details(this.view.focus);
	}

	emptyText() {
		const { state, report } = this;
		if (report.sites.count === 0)
			return 'Nothing was allocated while this was recorded.';
		if (state.thread || state.domain)
			return 'Nothing here for this thread and kind of memory.';
		return {
			leaked: 'Nothing was left: all that was allocated had been freed by the end.',
			temporary: 'Nothing was freed right after its allocation.',
		}[state.metric] || 'Nothing to show.';
	}

	updateMetrics() {
		const { model, state, report } = this;
		const sums = model.sumOf(state);
		const filtered = state.thread !== '' || state.domain !== '';
		this.showMetric(state.metric);
		for (const button of $('metrics').children) {
			const metric = button.dataset.value;
			const [bytes, count] = [sums[costColumn(metric, 'bytes')], sums[costColumn(metric, 'count')]];
			const all = report.meta.total[costColumn(metric, 'bytes')];
			const [, value, note] = button.children;
			value.textContent = formatBytes(bytes);
			const notes = [formatCount(count) + (count === 1 ? ' block' : ' blocks')];
			if (filtered && !state.domain)
				notes.push(formatShare(bytes, all) + ' of all');
			else if (metric === 'peak')
				notes.push('at ' + formatTime(report.meta.peak_time_us));
			else if (metric === 'leaked' && report.meta.at_time_us < report.meta.duration_us)
				notes.push('at ' + formatTime(report.meta.at_time_us));
			note.textContent = notes.join(' · ');
			button.title = formatExact(bytes) + ' bytes in ' + formatExact(count) + ' blocks';
			button.dataset.bytes = String(bytes);
			button.dataset.count = String(count);
		}
	}

	updateControls() {
		const { state } = this;
		this.showUnit(state.unit);
		this.showShape(state.shape);
		this.showTable(state.table);
		$('table-kind').firstChild.textContent = { line: 'Lines', function: 'Functions', module: 'Modules' }[state.group];
		$('inverted').setAttribute('aria-pressed', String(state.inverted === '1'));
		$('group').value = state.group;
		$('thread').value = state.thread;
		$('domain').value = state.domain;
		for (const button of document.querySelectorAll('[data-hide]'))
			button.setAttribute('aria-pressed', String(state.hide.includes(button.dataset.hide)));
		if ($('search').value !== state.search)
			$('search').value = state.search;
		$('reset').hidden = this.view.focus === 0;
		$('graph-title').textContent = state.inverted ? 'Callers of what allocates' : 'Flame graph';
	}

	updateSearch() {
		const { model, state } = this;
		const found = model.search(state);
		const result = $('search-result');
		result.className = found?.error ? 'bad' : '';
		result.title = '';
		$('search').setAttribute('aria-invalid', String(!!found?.error));
		this.graph.setMatched(found && !found.error ? found.groups : null);
		if (!found)
			result.textContent = '';
		else if (found.error)
			result.textContent = found.error;
		else {
			const whole = model.wholeOf(state);
			result.textContent = found.count ? formatShare(found.value, whole) + ' · ' + formatValue(found.value, state.unit) :
				'no match';
			result.title = formatExactValue(found.value, state.unit) + ' in stacks with a match; ' + formatExact(found.count) +
				' matching';
			result.dataset.exact = String(found.value);
		}
	}

	updateTable() {
		const { model, state, report } = this;
		const { groups } = model.groupsOf(state);
		const common = { report, groups, whole: model.wholeOf(state), state, filter: this.filterText };
		const shown = state.table === 'sites' ? siteTable({ ...common, siteFilter: model.filter(state) }) :
			functionTable({ ...common, table: model.table(state) });
		shown.emptyText = this.filterText ? 'No row has these words.' : 'No rows.';
		this.table.show(shown);
		$('filter-count').textContent = formatCount(shown.rows.length);
		$('filter-count').title = formatExact(shown.rows.length) + ' rows';
	}

	updateCrumbs() {
		const { view, report } = this;
		const path = [];
		for (let v = view.focus; v > 0; v = view.parent[v])
			path.push(v);
		path.push(0);
		path.reverse();
		const crumbs = path.length > CRUMBS_MAX + 1 ? [0, -1, ...path.slice(-CRUMBS_MAX)] : path;
		$('crumbs').hidden = view.focus === 0;
		$('crumbs').replaceChildren(...crumbs.flatMap((v) => {
			if (v < 0)
				return element('span', 'crumb-gap', '… ›');
			const button = element('button', '', shorten(frameName(report, view.groups, view.group[v]), 60));
			button.type = 'button';
			if (v === view.focus)
				button.setAttribute('aria-current', 'true');
			button.addEventListener('click', () => this.open(v));
			return v === view.focus ? button : [button, element('span', 'crumb-gap', '›')];
		}));
	}

	open(node) {
		this.hideTooltip();
		this.set({ zoom: this.model.zoomText(this.view, node) });
	}

	// A table row: to its heaviest place in the graph.
	openRow(row) {
		const { model, state, report } = this;
		if (state.table === 'sites') {
			this.set({ inverted: '', zoom: String(report.sites.node[row]) });
		} else if (state.inverted && model.table(state).own[row] > 0) {
			this.set({ zoom: 'i' + model.groupsOf(state).groups.frame[row] });
		} else {
			// What allocates nothing itself is in no view that begins with what allocates: the other way round, then.
			this.set({ inverted: '', zoom: model.zoomText(model.topDown(state), model.table(state).largest[row]) });
		}
	}

	invert() {
		this.set({ inverted: this.state.inverted ? '' : '1', zoom: '' });
	}

	hide(letter) {
		const hide = this.state.hide;
		this.set({ hide: [...'iml'].filter((one) => (one === letter) !== hide.includes(one)).join('') });
	}

	cycle(key, values) {
		this.set({ [key]: values[(values.indexOf(this.state[key]) + 1) % values.length] });
	}

	details(node) {
		this.shown = node;
		showDetails($('details'), {
			report: this.report, view: this.view, v: node, costs: this.model.costsOf(this.state, this.view, node),
			whole: this.model.sumOf(this.state), state: this.state, open: (target) => this.open(target),
		});
	}

	hoverNode(node, x, y) {
		const wanted = node >= 0 ? node : this.graph.selected;
		if (wanted !== this.shown && wanted < this.view.count)
			this.details(Math.max(0, wanted));
		if (node < 0)
			this.hideTooltip();
		else
			this.showTooltip(node, x, y);
	}

	describe(node) {
		const { view, report, state, model } = this;
		const value = view.value[node];
		return {
			name: node === 0 ? 'All stacks' : shorten(frameName(report, view.groups, view.group[node]), 300),
			place: shorten(framePlace(report, view.groups, view.group[node]), 300),
			value: formatValue(value, state.unit) + (state.unit === 'bytes' ? '' : ' blocks'),
			exact: formatExactValue(value, state.unit),
			share: formatShare(value, model.wholeOf(state)),
		};
	}

	showTooltip(node, x, y) {
		const tip = $('tooltip');
		if (tip.dataset.node !== String(node) || tip.hidden) {
			const { name, place, value, exact, share } = this.describe(node);
			const figures = element('div', 'tooltip-figures');
			figures.append(element('strong', '', value), element('span', '', share), element('span', 'muted', exact));
			tip.replaceChildren(element('div', 'tooltip-name', name), element('div', 'place', place), figures);
			tip.dataset.node = String(node);
			tip.hidden = false;
		}
		const room = 14;
		const left = x + room + tip.offsetWidth > innerWidth ? Math.max(4, x - room - tip.offsetWidth) : x + room;
		const top = y + room + tip.offsetHeight > innerHeight ? Math.max(4, y - room - tip.offsetHeight) : y + room;
		tip.style.transform = 'translate(' + Math.round(left) + 'px,' + Math.round(top) + 'px)';
	}

	hideTooltip() {
		$('tooltip').hidden = true;
	}

	// For those who walk the graph by keys, seen or heard.
	speak(node) {
		const { name, place, value, share } = this.describe(node);
		$('spoken').textContent = [name, place, value, share].filter((part) => part).join(', ');
		this.details(node);
	}

	storedTheme() {
		try {
			const theme = localStorage.getItem('sctmem-theme');
			return theme === 'dark' || theme === 'light' ? theme : null;
		} catch {
			return null;
		}
	}

	setTheme(theme) {
		document.documentElement.dataset.theme = theme;
		this.theme = theme;
		this.palette = themePalette(theme);
		const style = document.documentElement.style;
		CATEGORIES.forEach((category, i) => style.setProperty('--k' + i, category[theme]));
		this.palette.domains.forEach((colour, i) => style.setProperty('--d' + i, colour));
		style.setProperty('--live', this.palette.live);
		style.setProperty('--resident', this.palette.resident);
		this.graph.setTheme(this.palette);
		this.timeline.setTheme(this.palette);
	}

	toggleTheme() {
		this.setTheme(this.theme === 'dark' ? 'light' : 'dark');
		try {
			localStorage.setItem('sctmem-theme', this.theme);
		} catch {
			// Not remembered where the browser keeps nothing for local files.
		}
	}

	bindKeys() {
		const actions = {
			'?': () => $('help-dialog').showModal(),
			'/': () => $('search').focus(),
			p: () => this.set({ metric: 'peak' }),
			l: () => this.set({ metric: 'leaked' }),
			a: () => this.set({ metric: 'total' }),
			m: () => this.set({ metric: 'temporary' }),
			b: () => this.cycle('unit', ['bytes', 'count']),
			v: () => this.invert(),
			f: () => this.cycle('shape', ['icicle', 'flame']),
			g: () => this.cycle('group', ['line', 'function', 'module']),
			1: () => this.hide('i'),
			2: () => this.hide('m'),
			3: () => this.hide('l'),
			k: () => $('time-stacked').click(),
			t: () => this.toggleTheme(),
			Escape: () => this.set({ zoom: '' }),
		};
		addEventListener('keydown', (event) => {
			const typing = event.target.matches?.('input, select, textarea');
			if (typing && event.key === 'Escape' && event.target.value !== undefined)
				this.leaveInput(event.target);
			if (typing && event.key === 'Enter' && event.target.id === 'search')
				$('graph-canvas').focus();
			if (typing || event.ctrlKey || event.metaKey || event.altKey || $('help-dialog').open)
				return;
			if (!Object.hasOwn(actions, event.key))
				return;
			event.preventDefault();
			actions[event.key]();
		});
		// Paper is white.
		let shown = '';
		addEventListener('beforeprint', () => {
			shown = this.theme;
			this.setTheme('light');
			this.graph.draw();
			this.timeline.draw();
		});
		addEventListener('afterprint', () => this.setTheme(shown));
		matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
			if (!this.storedTheme())
				this.setTheme(event.matches ? 'dark' : 'light');
		});
	}

	leaveInput(input) {
		if (input.type === 'search') {
			input.value = '';
			input.dispatchEvent(new Event('input'));
		}
		$('graph-canvas').focus();
	}
}
