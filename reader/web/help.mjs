// SPDX-License-Identifier: MIT
// Keys and words: what the help dialog shows; app.mjs acts on the same keys.
import { button, element } from './dom.mjs';

export const KEYS = [
	['?', 'this help'],
	['/', 'search; Enter keeps it, Esc clears it'],
	['p l a m', 'peak, leaked, all that was allocated (total), temporary'],
	['b', 'bytes or blocks'],
	['v', 'inverted: from the allocating functions up to their callers'],
	['f', 'icicle or flame'],
	['g', 'boxes are lines, functions or modules'],
	['1 2 3', 'hide interpreter and allocators, imports, libraries'],
	['r', 'merge recursion'],
	['+ −, Shift ← →', 'in the graph: narrow, widen, move; so do Ctrl with the wheel, two fingers and dragging'],
	['k', 'time line: stack by kind of memory'],
	['drag, click', 'in the time line: a window of time, an instant; a double click shows the whole run again'],
	['[ ] Enter Esc', 'in the time line: a window begins, ends under the cross; an instant; the whole run again'],
	['arrows, Enter', 'in the graph: walk, zoom; in the table: choose, open; in the time line: read'],
	['Esc', 'show everything again'],
	['Alt+← Alt+→', 'back, forward'],
	['t', 'light or dark'],
	['s', 'save what is drawn as a picture, PNG or SVG'],
];

const WORDS = [
	['Peak', 'live at the moment when all counted memory together was highest.'],
	['Leaked', 'never freed while the capture lasted.'],
	['Total', 'everything ever allocated, freed or not.'],
	['Temporary', 'freed by the same thread almost at once: work for the allocator that could be saved.'],
	['Window', 'a stretch of the run. Live at its end: whenever it was allocated. Leaked from it: allocated in it and ' +
		'still live at its end. Never freed: allocated in it and live when the capture ended.'],
	['Hidden frames', 'are taken out of the stacks; their cost goes to the next frame that is shown. No figure changes.'],
	['Share', 'of what the filters for thread and kind of memory let through.'],
	['Grey slivers', 'are frames too narrow to draw. Zoom in to see them.'],
];

function definitionList(className, rows) {
	const list = element('dl', className);
	for (const [term, text] of rows)
		list.append(element('dt', '', term), element('dd', '', text));
	return list;
}

// views: as in views.mjs.
export function fillHelp(dialog, views, writer) {
	const close = button('icon', '×', '', () => dialog.close());
	close.setAttribute('aria-label', 'Close');
	const head = element('div', 'dialog-head');
	const title = element('h2', '', 'Help');
	title.id = 'help-title';
	head.append(title, close);
	dialog.replaceChildren(head, element('h3', '', 'Keys'), definitionList('keys', KEYS),
		element('h3', '', 'Views'), definitionList('keys', views.map(({ key, title, hint }) => [key, title + ': ' + hint])),
		element('h3', '', 'Words'), definitionList('words', WORDS),
		element('p', 'muted', 'Made by ' + writer + '. This page is one file and calls nobody; its address holds the view.'));
	dialog.addEventListener('click', (event) => {
		if (event.target === dialog)
			dialog.close();
	});
}
