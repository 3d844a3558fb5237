// SPDX-License-Identifier: MIT
// The tooltip: what is under the pointer, beside it and within the window.
import { byId, element } from './dom.mjs';

export class Tooltip {
	constructor() {
		this.root = byId('tooltip');
		this.key = '';
	}

	// key: what is shown, made anew only when it changes; fill(): { name, place, figures: [[class, text]], rows }; rows:
	// all costs, [[whether it is the one that is looked at, name, bytes, blocks, maybe an interval]].
	show(key, x, y, fill) {
		const { root } = this;
		if (this.key !== key || root.hidden) {
			const { name, place, figures, rows = [] } = fill();
			const line = element('div', 'tooltip-figures');
			line.append(...figures.map(([kind, text]) => element(kind === 'strong' ? kind : 'span', kind, text)));
			const table = element('table', 'tooltip-costs');
			for (const [chosen, ...texts] of rows) {
				const row = table.insertRow();
				row.className = chosen ? 'chosen' : '';
				for (const text of texts)
					row.insertCell().textContent = text;
			}
			root.replaceChildren(element('div', 'tooltip-name', name), element('div', 'place', place), line, table);
			root.hidden = false;
			this.key = key;
		}
		const room = 14;
		const left = x + room + root.offsetWidth > innerWidth ? Math.max(4, x - room - root.offsetWidth) : x + room;
		const top = y + room + root.offsetHeight > innerHeight ? Math.max(4, y - room - root.offsetHeight) : y + room;
		root.style.transform = 'translate(' + Math.round(left) + 'px,' + Math.round(top) + 'px)';
	}

	hide() {
		this.root.hidden = true;
	}
}
