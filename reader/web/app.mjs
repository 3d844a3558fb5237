// SPDX-License-Identifier: MIT
// The page: joins the model, the controls and the views.  One state, kept in the address; every control changes the
// state by `set`, and `update` makes the page show it.  It knows the views from their list only (views.mjs).
import { byId, choiceButtons, element } from './dom.mjs';
import { Controls } from './controls.mjs';
import { frameName, framePlace, metricLabel } from './details.mjs';
import { fillHelp } from './help.mjs';
import { allBadges, commandLine, reportFacts } from './header.mjs';
import { blocksText, intervalText } from './intervals.mjs';
import { Model } from './model.mjs';
import { CATEGORIES, themePalette } from './palette.mjs';
import { SaveMenu } from './save_menu.mjs';
import { Side } from './side.mjs';
import { Address } from './state.mjs';
import { TimeCard } from './time_card.mjs';
import { Tooltip } from './tooltip.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { formatBytes, formatCount, formatExactValue, formatShare, formatValue, shorten } from './units.mjs';
import { visibleText } from './units.mjs';
import { VIEWS } from './views.mjs';

export class App {
	constructor(report) {
		this.report = report;
		this.model = new Model(report);
		const { meta, sites } = report;
		this.countedDomains = [...new Set(sites.domain.filter((_, i) => sites.counted[i]))].sort((a, b) => a - b);
		this.views = VIEWS.filter((view) => !view.offered || view.offered(report));
		this.opened = new Map();
		this.address = new Address(this.views, { view: meta.view, metric: meta.metric, inverted: meta.inverted ? '1' : '' });
		this.state = this.address.parse(location.hash);
		this.buildHeader();
		this.tooltip = new Tooltip();
		this.controls = new Controls(this);
		this.saveMenu = new SaveMenu(this);
		this.timeCard = new TimeCard(this);
		this.timeline = this.timeCard.timeline;
		this.side = new Side(this);
		this.table = this.side.table;
		this.buildTabs();
		this.bindKeys();
		this.setTheme(this.storedTheme() || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
		addEventListener('hashchange', () => this.follow());
		addEventListener('popstate', () => this.follow());
		this.update(false, Object.keys(this.state));
	}

	// The address was changed: by back and forward, or by hand.
	follow() {
		this.change(this.address.parse(location.hash), true);
	}

	// record: false for what is typed letter by letter, so that Back does not undo letters.
	set(changes, record = true) {
		const before = this.address.format(this.state);
		const state = { ...this.state, ...changes };
		// A window of the graph belongs to what it is a window of.
		if (!('span' in changes) && ['zoom', 'inverted', 'split'].some((key) => key in changes))
			state.span = '';
		const hash = this.address.format(state);
		if (hash === before)
			return;
		try {
			history[record ? 'pushState' : 'replaceState'](null, '', '#' + hash);
		} catch {
			// Some browsers allow a local file only so many of these: the view works, its address lags.
		}
		this.change(state, 'zoom' in changes);
	}

	change(state, animate) {
		const changed = Object.keys(state).filter((key) => state[key] !== this.state[key]);
		this.state = state;
		if (changed.length)
			this.update(animate, changed);
	}

	buildHeader() {
		const { meta } = this.report;
		const words = meta.captures[0]?.arguments || [];
		const title = visibleText(meta.title && meta.title !== words.join(' ') ? meta.title : commandLine(words));
		byId('title').textContent = shorten(title, 400) || 'unnamed program';
		byId('title').title = shorten(title, 4000);
		const badges = allBadges(meta);
		const sums = this.model.sumOf({ thread: '', domain: '' });
		if (!meta.clamped && sums.some((sum, i) => sum !== meta.total[i])) {
			badges.unshift({ level: 'bad', label: 'sums differ',
				text: 'The sites of this page do not add up to its totals; please report this.' });
		}
		byId('badges').replaceChildren(...badges.map(({ level, label, text }) => {
			const badge = element('span', 'badge ' + level, visibleText(label));
			badge.title = visibleText(text).replaceAll('‹000A›', '\n');
			badge.setAttribute('role', 'listitem');
			badge.tabIndex = 0;
			badge.setAttribute('aria-label', visibleText(label + ': ' + text));
			return badge;
		}));
		byId('facts').replaceChildren(...reportFacts(meta).map(([name, text, exact]) => {
			const fact = element('div');
			const value = element('dd', '', shorten(visibleText(text), 80));
			fact.append(element('dt', '', name), value);
			fact.title = exact;
			return fact;
		}));
		fillHelp(byId('help-dialog'), this.views, meta.writer);
		byId('help').addEventListener('click', () => byId('help-dialog').showModal());
		byId('theme').addEventListener('click', () => this.toggleTheme());
		byId('skip').addEventListener('click', (event) => {
			event.preventDefault();
			this.focusView();
		});
	}

	buildTabs() {
		this.showTab = choiceButtons(byId('tabs'), this.views.map((view) => [view.name, view.title]),
			(view) => this.set({ view }), 'tab');
		this.views.forEach((view, i) => {
			const tab = byId('tabs').children[i];
			tab.id = 'tab-' + view.name;
			tab.title = view.title + ': ' + view.hint + ' (' + view.key + ')';
			tab.setAttribute('aria-controls', 'view-' + view.name);
			const root = byId('views').appendChild(element('div', 'view'));
			root.id = 'view-' + view.name;
			root.setAttribute('role', 'tabpanel');
			root.setAttribute('aria-labelledby', tab.id);
		});
		byId('tabs').hidden = this.views.length < 2;
	}

	// The tree that the state shows; made when somebody asks for it.
	get tree() {
		return this.model.view(this.state);
	}

	get viewed() {
		return this.views.find((view) => view.name === this.state.view);
	}

	// Makes the page show the state.
	update(animate, changed) {
		this.tooltip.hide();
		this.model.setWindow(this.state.window, this.state.windowBefore);
		this.timeCard.update();
		this.controls.update();
		const viewed = this.viewed;
		for (const view of this.views)
			byId('view-' + view.name).hidden = view !== viewed;
		this.showTab(viewed.name);
		this.revealTab(byId('tab-' + viewed.name));
		const sampled = this.report.spreads || this.report.spreadsBefore;
		byId('estimates').hidden = !sampled || viewed.side.includes('details') || !!viewed.intervals;
		this.side.update(viewed.side);
		let view = this.opened.get(viewed);
		if (!view) {
			view = viewed.create(byId('view-' + viewed.name), this);
			this.opened.set(viewed, view);
			view.setTheme?.(this.palette);
		}
		view.update({ animate, changed });
	}

	// Only the row of tabs is scrolled: scrollIntoView would move the page of a small window, too.
	revealTab(tab) {
		const tabs = byId('tabs');
		const left = tab.offsetLeft - tabs.offsetLeft;
		tabs.scrollLeft = Math.min(left, Math.max(tabs.scrollLeft, left + tab.offsetWidth - tabs.clientWidth));
	}

	focusView() {
		this.opened.get(this.viewed).focus?.();
	}

	emptyText() {
		const { state, report } = this;
		if (report.sites.count === 0)
			return 'Nothing was allocated while this was recorded.';
		if (state.thread || state.domain)
			return 'Nothing here for this thread and kind of memory.';
		if (report.meta.window)
			return 'Nothing: ' + metricLabel(state.metric, report.meta).toLowerCase() + ', ' + report.meta.window.title + '.';
		return {
			leaked: 'Nothing was left: all that was allocated had been freed by the end.',
			temporary: 'Nothing was freed right after its allocation.',
		}[state.metric] || 'Nothing to show.';
	}

	open(node) {
		this.set({ zoom: this.model.zoomText(this.state, this.tree, node) });
	}

	// The column of the costs that is measured.
	metricColumn() {
		return costColumn(this.state.metric, this.state.unit);
	}

	// The function that callers and callees are about: chosen, or zoomed into, or what allocated most.
	chosenGroup() {
		const { model, state, report, tree } = this;
		const { groups } = model.groupsOf(state);
		const frame = state.fn === '' ? -1 : Number(state.fn);
		if (frame > 0 && frame < report.frames.count)
			return groups.of[frame];
		const focused = tree.count ? tree.group[tree.focus] : 0;
		if (focused && !groups.isPart[focused])
			return focused;
		const { own, groups: list } = model.table(state);
		return list.reduce((best, group) => (own[group] > own[best] ? group : best), list[0] ?? 0);
	}

	openGroup(group, view = this.state.view) {
		this.set({ fn: String(this.model.groupsOf(this.state).groups.frame[group]), view });
	}

	// A row of the side's table: what the view makes of it, or its heaviest place in the graph.
	openRow(row) {
		const { model, state } = this;
		const view = this.opened.get(this.viewed);
		if (view.openRow)
			view.openRow(row);
		else if (state.table === 'sites') {
			this.set({ inverted: '', zoom: model.zoomOfSite(state, row) });
		} else if (state.inverted && model.table(state).own[row] > 0) {
			this.set({ zoom: 'i' + model.groupsOf(state).groups.frame[row] });
		} else {
			// What allocates nothing itself is in no view that begins with what allocates: the other way round, then.
			this.set({ inverted: '', zoom: model.zoomOfGroup(state, row) });
		}
	}

	invert() {
		this.set({ inverted: this.state.inverted ? '' : '1', zoom: '', span: '' });
	}

	hide(letter) {
		const hide = this.state.hide;
		this.set({ hide: [...'iml'].filter((one) => (one === letter) !== hide.includes(one)).join('') });
	}

	cycle(key) {
		const { accepts } = this.address.fields[key];
		this.set({ [key]: accepts[(accepts.indexOf(this.state[key]) + 1) % accepts.length] });
	}

	// A node of the tree is under the pointer (or none: -1).
	hoverNode(node, x, y) {
		const wanted = node >= 0 ? node : this.tree.focus;
		if (wanted !== this.side.shown && wanted < this.tree.count)
			this.side.details(wanted);
		if (node < 0)
			this.tooltip.hide();
		else
			this.tooltip.show('node ' + node, x, y, () => this.describe(node));
	}

	describe(node) {
		const { tree, report, state, model } = this;
		const value = tree.value[node];
		const shown = formatValue(value, state.unit) + (state.unit === 'bytes' ? '' : ' blocks');
		const costs = model.costsOf(state, tree, node);
		const intervals = model.intervalsOf(state, tree, node, costs);
		return {
			rows: METRICS.map((metric) => [metric === state.metric, metricLabel(metric, report.meta),
				formatBytes(costs[costColumn(metric, 'bytes')]), blocksText(formatCount(costs[costColumn(metric, 'count')]) +
					' blocks', intervals?.[metric]),
				...(intervals ? [intervalText(intervals[metric])] : [])]),
			name: node === 0 ? 'All stacks' : shorten(frameName(report, tree.groups, tree.group[node]), 300),
			place: shorten(framePlace(report, tree.groups, tree.group[node]), 300),
			figures: [['strong', shown], ['', formatShare(value, model.wholeOf(state))],
				['muted', formatExactValue(value, state.unit)]],
		};
	}

	// For those who walk the graph by keys, seen or heard.
	speak(node) {
		this.say(this.describe(node));
		this.side.details(node);
	}

	say({ name, place, figures }) {
		byId('spoken').textContent = [name, place, figures[0][1], figures[1][1]].filter((part) => part).join(', ');
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
		style.setProperty('--before', this.palette.before);
		this.timeCard.setTheme(this.palette);
		for (const view of this.opened.values())
			view.setTheme?.(this.palette);
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
			'?': () => byId('help-dialog').showModal(),
			'/': () => byId('search').focus(),
			p: () => this.set({ metric: 'peak' }),
			l: () => this.set({ metric: 'leaked' }),
			a: () => this.set({ metric: 'total' }),
			m: () => this.set({ metric: 'temporary' }),
			b: () => this.cycle('unit'),
			v: () => this.invert(),
			f: () => this.cycle('shape'),
			g: () => this.cycle('group'),
			1: () => this.hide('i'),
			2: () => this.hide('m'),
			3: () => this.hide('l'),
			k: () => byId('time-stacked').click(),
			t: () => this.toggleTheme(),
			s: () => this.saveMenu.toggle(true),
			r: () => this.cycle('recursion'),
			Escape: () => this.set({ zoom: '', span: '' }),
		};
		for (const view of this.views)
			actions[view.key] = () => this.set({ view: view.name });
		addEventListener('keydown', (event) => {
			const typing = event.target.matches?.('input, select, textarea');
			if (typing && event.key === 'Escape' && event.target.value !== undefined)
				this.leaveInput(event.target);
			if (typing && event.key === 'Enter' && event.target.id === 'search')
				this.focusView();
			if (typing || event.ctrlKey || event.metaKey || event.altKey || byId('help-dialog').open)
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
			this.opened.get(this.viewed).draw?.();
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
		this.focusView();
	}
}
