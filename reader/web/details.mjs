// SPDX-License-Identifier: MIT
// The panel about one frame: its place, every cost, the lines of source around it, and who called it.
import { KIND_PART, KIND_PYTHON, KIND_SPECIAL, FLAG_INLINED, FLAG_UNRESOLVED } from './data.mjs';
import { CATEGORIES, frameCategory } from './palette.mjs';
import { button, element } from './dom.mjs';
import { blocksText, blocksTitle, intervalText, intervalTitle } from './intervals.mjs';
import { METRICS, costColumn } from './tree.mjs';
import { formatBytes, formatCount, formatExact, formatShare, shorten, visibleText } from './units.mjs';

const NAME_LENGTH = 2000;
const CALLERS_MAX = 400;

export function metricLabel(metric, meta) {
	if (meta.window)
		return meta.window.labels[metric] || meta.window.labels.peak;
	if (metric === 'leaked')
		return meta.at_time_us >= meta.duration_us ? 'Leaked' : 'Live';
	return { peak: 'Peak', total: 'Total', temporary: 'Temporary' }[metric];
}

// Those that say something: at an instant, what is left of all is what lives.
export function shownMetrics(meta, chosen) {
	return METRICS.filter((metric) => !meta.window || meta.window.labels[metric] || metric === chosen);
}

export function frameName(report, groups, group) {
	const frame = groups.frame[group];
	if (frame === 0)
		return 'all';
	const { strings, frames } = report;
	if (groups.by === 'module' && frames.kind[frame] !== KIND_PART)
		return visibleText(shorten(strings[frames.module[frame]] || strings[frames.file[frame]] || '?', NAME_LENGTH));
	return visibleText(shorten(strings[frames.function[frame]], NAME_LENGTH)) || '?';
}

export function framePlace(report, groups, group) {
	const frame = groups.frame[group];
	const { strings, frames } = report;
	const file = visibleText(shorten(strings[frames.file[frame]], NAME_LENGTH));
	const module = visibleText(shorten(strings[frames.module[frame]], NAME_LENGTH));
	if (groups.by === 'module')
		return module ? '' : file;
	const line = groups.by === 'line' && frames.line[frame] ? ':' + frames.line[frame] : '';
	return [file ? file + line : '', module].filter((part) => part).join(' · ');
}

export function frameKind(report, groups, group) {
	const frame = groups.frame[group];
	return frame === 0 ? 0 : frameCategory(report.frames.kind[frame], report.frames.flags[frame]);
}

function costTable(costs, intervals, whole, meta, state) {
	const table = element('table', 'costs');
	const head = table.createTHead().insertRow();
	for (const label of ['', intervals ? 'Bytes, 95 %' : 'Bytes', 'Share', 'Blocks']) {
		const cell = head.appendChild(element('th', '', label));
		cell.scope = 'col';
	}
	const body = table.createTBody();
	for (const metric of shownMetrics(meta, state.metric)) {
		const row = body.insertRow();
		row.className = metric === state.metric ? 'chosen' : '';
		const name = row.appendChild(element('th', '', metricLabel(metric, meta)));
		name.scope = 'row';
		const [bytes, count] = [costs[costColumn(metric, 'bytes')], costs[costColumn(metric, 'count')]];
		const all = whole[costColumn(metric, state.unit)];
		const interval = intervals?.[metric];
		const cells = [formatBytes(bytes), formatShare(state.unit === 'bytes' ? bytes : count, all),
			blocksText(formatCount(count), interval)];
		const exact = [formatExact(bytes) + ' bytes', 'of ' + formatExact(all),
			blocksTitle(formatExact(count) + ' blocks', interval)];
		cells.forEach((text, i) => {
			const cell = row.appendChild(element('td', '', text));
			cell.title = exact[i];
		});
		row.cells[1].dataset.exact = String(bytes);
		row.cells[3].dataset.exact = String(count);
		if (interval) {
			const line = row.cells[1].appendChild(element('div', 'interval', intervalText(interval)));
			line.title = intervalTitle(interval);
			line.dataset.interval = interval.join(' ');
		}
	}
	return table;
}

function sourceLines(report, frame) {
	const source = report.sources.get(report.frames.file[frame]);
	const line = report.frames.line[frame];
	if (!source?.lines.has(line))
		return null;
	const list = element('pre', 'source');
	list.setAttribute('aria-label', 'source');
	if (source.changed)
		list.append(element('span', 'source-changed', 'This file is newer than the capture: lines may have moved.\n'));
	for (let number = Math.max(1, line - 3); number <= line + 3; number++) {
		if (!source.lines.has(number))
			continue;
		const row = list.appendChild(element('span', number === line ? 'source-line chosen' : 'source-line'));
		row.append(element('span', 'source-number', String(number).padStart(5) + '  '),
			visibleText(source.lines.get(number).replaceAll('\t', '    ')) + '\n');
	}
	return list;
}

// The frames from the one shown to the root; each is a button that opens it.
function callerList(report, view, v, whole, open) {
	const list = element('ol', 'callers');
	let shown = 0;
	for (let above = view.parent[v]; above > 0 && shown < CALLERS_MAX; above = view.parent[above], shown++) {
		const target = above;
		const line = button('', '', framePlace(report, view.groups, view.group[above]), () => open(target));
		line.append(element('span', 'dot k' + frameKind(report, view.groups, view.group[above])),
			element('span', 'name', shorten(frameName(report, view.groups, view.group[above]), 160)),
			element('span', 'share', formatShare(view.value[above], whole)));
		list.appendChild(element('li')).append(line);
	}
	return list;
}

export function stackText(report, view, v) {
	const lines = [];
	for (; v > 0; v = view.parent[v]) {
		const group = view.group[v];
		const place = framePlace(report, view.groups, group);
		lines.push(frameName(report, view.groups, group) + (place ? '  ' + place : ''));
	}
	return lines.join('\n');
}

// costs: of node v, and their intervals, if it is a sample; whole: of all that is selected; links: [[text, what a click
// does]].
export function showDetails(root, { report, view, v, costs, intervals, whole, state, open, links }) {
	const group = view.group[v];
	const frame = view.groups.frame[group];
	const kind = frameKind(report, view.groups, group);
	const title = element('div', 'details-title');
	const place = v === 0 ? 'everything that is selected' : framePlace(report, view.groups, group);
	const chip = element('span', 'chip k' + kind, v === 0 ? 'All' : frame && report.frames.kind[frame] ===
		KIND_PART ? 'Part' : CATEGORIES[kind].label);
	title.append(element('h3', '', v === 0 ? 'All stacks' : frameName(report, view.groups, group)), chip);
	const flags = report.frames.flags[frame];
	if (frame && flags & FLAG_INLINED)
		title.append(element('span', 'chip', 'inlined'));
	if (frame && flags & FLAG_UNRESOLVED)
		title.append(element('span', 'chip', 'no symbol'));
	const placeLine = element('p', 'place', place || (report.frames.kind[frame] >= KIND_SPECIAL ? '' : 'place unknown'));
	const self = element('p', 'self');
	const word = state.unit === 'bytes' ? formatBytes(view.self[v]) : formatCount(view.self[v]) + ' blocks';
	self.append(view.inverted ? 'ends here: ' : 'allocated here itself: ', element('strong', '', word),
		' · ' + formatExact(view.self[v]) + ' ' + (state.unit === 'bytes' ? 'bytes' : 'blocks'));
	const ways = element('div', 'details-links');
	ways.append(...links.map(([text, act]) => button('', text, '', act)));
	const parts = [title, placeLine, ways, costTable(costs, intervals, whole, report.meta, state), self];
	const source = frame && view.groups.by === 'line' && report.frames.kind[frame] === KIND_PYTHON ?
		sourceLines(report, frame) : null;
	if (source)
		parts.push(source);
	if (v > 0 && view.parent[v] > 0) {
		parts.push(element('h4', '', view.inverted ? 'Towards the allocation' : 'Called from'));
		parts.push(callerList(report, view, v, whole[costColumn(state.metric, state.unit)], open));
	}
	root.replaceChildren(...parts);
}
