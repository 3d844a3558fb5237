// SPDX-License-Identifier: MIT
// Costs beside the source: files on the left, the lines of one on the right, with their text where the page has it.
import { KIND_PYTHON } from './data.mjs';
import { element } from './dom.mjs';
import { metricLabel, shownMetrics } from './details.mjs';
import { indexLines, lineSeries, sparkPath, sumLines } from './lines.mjs';
import { fillName, fillValue, metricWidth, textFilter } from './rows.mjs';
import { Table } from './table.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { baseName, formatExact, formatExactValue, formatValue, shorten, visibleText } from './units.mjs';

const LINE_HEIGHT = 21;
const SPARK_WIDTH = 64;
const SPARK_HEIGHT = 14;
const SVG = 'http:' + '/' + '/www.w3.org/2000/svg';

class SourceView {
	constructor(root, app) {
		this.app = app;
		this.filterText = '';
		this.lines = indexLines(app.report.frames);
		this.pythonDomain = app.report.meta.domains.findIndex(({ name }) => name === 'python');
		this.entriesOf = new Map();
		for (let entry = 0; entry < this.lines.count; entry++) {
			const file = this.lines.file[entry];
			if (!this.entriesOf.has(file))
				this.entriesOf.set(file, []);
			this.entriesOf.get(file).push(entry);
		}
		const panes = element('div', 'source-panes');
		const files = panes.appendChild(element('div', 'source-files'));
		const filter = files.appendChild(element('input', 'filter'));
		filter.type = 'search';
		filter.placeholder = 'Filter files';
		filter.setAttribute('aria-label', 'Filter files');
		filter.spellcheck = false;
		filter.addEventListener('input', () => {
			this.filterText = filter.value;
			this.showFiles();
		});
		const list = files.appendChild(element('div'));
		list.id = 'source-list';
		list.setAttribute('role', 'grid');
		list.setAttribute('aria-label', 'Files');
		this.fileTable = new Table(list, { onOpen: (file) => app.set({ file: String(file) }) });
		const text = panes.appendChild(element('div', 'source-text'));
		this.title = text.appendChild(element('div', 'source-title'));
		const body = text.appendChild(element('div'));
		body.id = 'source-lines';
		body.setAttribute('role', 'grid');
		body.setAttribute('aria-label', 'Lines');
		this.lineTable = new Table(body, { onOpen: (line) => this.openLine(line) }, LINE_HEIGHT);
		root.append(panes);
	}

	update() {
		const { report, model, state } = this.app;
		const key = [model.filterKey(state), state.unit, state.hide].join('|');
		if (this.key !== key) {
			this.key = key;
			const whole = { ...state, split: '', recursion: '' };
			this.sums = sumLines(report, this.lines, model.hiddenOf(whole), model.filter(state), state.unit, this.pythonDomain);
		}
		this.metric = METRICS.indexOf(state.metric);
		this.showFiles();
		this.showLines();
	}

	showFiles() {
		const { report, model, state } = this.app;
		const { files } = this.sums;
		const m = this.metric;
		const accepts = textFilter(this.filterText);
		const path = (file) => visibleText(report.strings[file]);
		const rows = [...files.keys()].filter((file) => files.get(file).all[m] > 0 && accepts(path(file)));
		const whole = model.wholeOf(state);
		this.file = state.file !== '' && this.entriesOf.has(Number(state.file)) ? Number(state.file) :
			[...files.keys()].reduce((best, file) => (this.isBetter(file, best) ? file : best), -1);
		this.fileTable.chosen = this.file;
		this.fileTable.show({
			name: 'files', rows, sort: { key: 'own', descending: true },
			emptyText: this.filterText ? 'No file has these words.' : this.app.emptyText(),
			columns: [
				{
					key: 'name', label: 'File', className: 'wide', value: (file) => path(file).toLowerCase(),
					fill: (cell, file) => fillName(cell, this.isPython(file) ? 'k1' : 'k4', baseName(path(file)), path(file)),
				},
				{
					key: 'own', label: 'Own', className: 'number', width: '84px', descending: true,
					title: 'Allocated by its lines', value: (file) => files.get(file).own[m],
					fill: (cell, file) => fillValue(cell, files.get(file).own[m], whole, state.unit),
				},
				{
					key: 'all', label: 'Inclusive', className: 'number', width: '84px', descending: true,
					title: 'Allocated by its lines and by what they call', value: (file) => files.get(file).all[m],
					fill: (cell, file) => fillValue(cell, files.get(file).all[m], whole, state.unit),
				},
			],
		});
	}

	// Whether a file is a better first choice: of which there is text, then what allocated more by itself.
	isBetter(file, than) {
		if (than < 0)
			return true;
		const { sources } = this.app.report;
		const score = (one) => (sources.get(one)?.lines.size ? 1e16 : 0) + this.sums.files.get(one).own[this.metric];
		return score(file) > score(than);
	}

	isPython(file) {
		const { frames } = this.app.report;
		if (!this.pythonFiles) {
			this.pythonFiles = new Set();
			for (let i = 1; i < frames.count; i++) {
				if (frames.kind[i] === KIND_PYTHON)
					this.pythonFiles.add(frames.file[i]);
			}
		}
		return this.pythonFiles.has(file);
	}

	showLines() {
		const { report, model, state } = this.app;
		const { file, sums, lines } = this;
		const source = report.sources.get(file);
		const entries = new Map((this.entriesOf.get(file) || []).map((entry) => [lines.line[entry], entry]));
		const numbers = [...new Set([...(source?.lines.keys() || []), ...entries.keys()])].sort((a, b) => a - b);
		this.entries = entries;
		this.showTitle(file, source);
		const { unit } = state;
		const cost = (columns, line) => (entries.has(line) ? columns[entries.get(line)] : 0);
		const whole = model.sumOf(state);
		const number = (key, label, title, columns, all) => ({
			key, label, title, width: metricWidth(report.meta), className: 'number', descending: true,
			value: (line) => cost(columns, line),
			fill: (cell, line) => this.fillCost(cell, cost(columns, line), all, unit),
		});
		const shown = shownMetrics(report.meta, state.metric).filter((metric) => metric !== 'temporary' ||
			state.metric === metric);
		this.lineTable.show({
			name: 'lines', rows: numbers, room: 360, sort: { key: 'line', descending: false }, emptyText: '',
			columns: [
				{ key: 'line', label: 'Line', width: '60px', className: 'line-number', value: (line) => line,
					fill: (cell, line) => {
						cell.textContent = String(line);
						const at = this.lineTable.order.key === 'line' && !this.lineTable.order.descending;
						cell.parentElement.classList.toggle('gap', at && numbers.indexOf(line) > 0 &&
							!numbers.includes(line - 1));
					} },
				...shown.map((metric) => number(metric, metricLabel(metric, report.meta),
					'Allocated by this line, ' + metricLabel(metric, report.meta).toLowerCase(), sums.own[METRICS.indexOf(metric)],
					whole[costColumn(metric, unit)])),
				number('all', 'Inclusive', 'Allocated by this line and what it calls, ' + metricLabel(state.metric, report.meta)
					.toLowerCase(), sums.all[this.metric], whole[costColumn(state.metric, unit)]),
				{ key: 'python', label: 'Py / native', width: '92px', className: 'share-cell', descending: true,
					title: 'Of what this line allocated: the part in Python\'s own objects, and the rest',
					value: (line) => cost(sums.python[this.metric], line) / Math.max(cost(sums.own[this.metric], line), 1),
					fill: (cell, line) => this.fillShare(cell, cost(sums.python[this.metric], line),
						cost(sums.own[this.metric], line)) },
				...this.sparkColumn(file),
				{ key: 'text', label: 'Source', className: 'code', value: (line) => line,
					fill: (cell, line) => {
						cell.textContent = shorten(visibleText((source?.lines.get(line) ?? '').replaceAll('\t', '    ')), 400);
					} },
			],
		});
		if (this.scrolled !== file)
			this.scrollToHottest(numbers);
		this.scrolled = file;
	}

	// A file begins at its hottest line, not at its licence.
	scrollToHottest(numbers) {
		const { lineTable, entries, sums, metric } = this;
		const own = (line) => (entries.has(line) ? sums.own[metric][entries.get(line)] : 0);
		const hottest = numbers.reduce((best, line) => (own(line) > own(best) ? line : best), numbers[0]);
		const top = numbers.indexOf(hottest) * LINE_HEIGHT - lineTable.body.clientHeight / 3;
		if (lineTable.order.key === 'line' && !lineTable.order.descending)
			lineTable.body.scrollTop = Math.max(0, top);
		lineTable.render();
	}

	showTitle(file, source) {
		const { report } = this.app;
		const parts = [element('strong', '', file < 0 ? 'No source is known' :
			shorten(visibleText(report.strings[file]), 300))];
		if (file >= 0 && !source)
			parts.push(element('span', 'muted', 'its text is not in this page: it could not be read where the page was made'));
		if (source?.confidential)
			parts.push(element('span', 'warned', 'left out, because it looks confidential; --all-source puts it in'));
		if (source?.changed)
			parts.push(element('span', 'warned', 'newer than the capture: lines may have moved'));
		this.title.replaceChildren(...parts);
	}

	fillCost(cell, value, whole, unit) {
		if (!cell.firstChild)
			cell.append(element('span', 'bar'), element('span', 'figure'));
		cell.firstChild.style.width = (whole > 0 ? Math.min(100, value / whole * 100) : 0).toFixed(2) + '%';
		cell.lastChild.textContent = value ? formatValue(value, unit) : '';
		cell.title = value ? formatExactValue(value, unit) : '';
		cell.dataset.exact = String(value);
	}

	// What a line itself held over the run, where the page has that.
	sparkColumn(file) {
		const { report } = this.app;
		if (!(report.slices?.count > 1))
			return [];
		const key = this.key + ' ' + file;
		if (this.seriesKey !== key) {
			this.seriesKey = key;
			this.paths = new Map();
			for (const [entry, values] of lineSeries(report.slices, this.lines, this.sums, file)) {
				this.paths.set(this.lines.line[entry], {
					most: values.reduce((a, b) => Math.max(a, b), 0), path: sparkPath(values, SPARK_WIDTH, SPARK_HEIGHT),
				});
			}
		}
		return [{
			key: 'spark', label: 'Over time', width: SPARK_WIDTH + 20 + 'px', className: 'spark', descending: true,
			title: 'What the line itself held from the start to the end of the run, each line to its own scale',
			value: (line) => this.paths.get(line)?.most ?? 0,
			fill: (cell, line) => {
				if (!cell.firstChild) {
					const picture = cell.appendChild(document.createElementNS(SVG, 'svg'));
					picture.setAttribute('viewBox', '0 0 ' + SPARK_WIDTH + ' ' + SPARK_HEIGHT);
					picture.appendChild(document.createElementNS(SVG, 'path'));
				}
				const { path = '', most = 0 } = this.paths.get(line) ?? {};
				cell.firstChild.firstChild.setAttribute('d', path);
				cell.title = most ? 'at most ' + formatExactValue(most, 'bytes') : '';
			},
		}];
	}

	fillShare(cell, python, own) {
		if (!cell.firstChild) {
			const bar = cell.appendChild(element('div', 'share-bar'));
			bar.append(element('span', 'd1'), element('span', 'd0'));
		}
		cell.firstChild.hidden = own === 0;
		const share = own ? python / own * 100 : 0;
		cell.firstChild.firstChild.style.width = share.toFixed(1) + '%';
		cell.firstChild.lastChild.style.width = (100 - share).toFixed(1) + '%';
		cell.title = own ? formatExact(Math.round(share)) + ' % in Python objects, ' + formatExact(100 - Math.round(share)) +
			' % native' : '';
	}

	// To the heaviest place of the line in the graph.
	openLine(line) {
		const { app } = this;
		const entry = this.entries.get(line);
		if (entry === undefined)
			return;
		const { report, model, state } = app;
		const view = model.topDown({ ...state, inverted: '' });
		let best = -1;
		for (let v = 1; v < view.count; v++) {
			const node = view.entries[view.entryStart[v]];
			if (this.lines.of[model.reportOf(state).nodes.frame[node]] === entry &&
				(best < 0 || view.value[v] > view.value[best]))
				best = v;
		}
		if (best >= 0 && report.nodes.count)
			app.set({ view: 'flame', inverted: '', zoom: model.zoomText({ ...state, inverted: '' }, view, best) });
	}

	focus() {
		this.lineTable.body.focus();
	}
}

export const sourceView = {
	name: 'source',
	title: 'Source',
	hint: 'each line of a file with what it allocated',
	key: 'S',
	side: [],
	fields: { file: { letter: 'f', initial: '', accepts: /\d*/ } },
	offered: ({ frames }) => frames.line.some((line, i) => line > 0 && frames.file[i] > 0),
	create: (root, app) => new SourceView(root, app),
};
