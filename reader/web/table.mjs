// SPDX-License-Identifier: MIT
// A table of any length: only the rows that can be seen exist.  Rows are numbers; columns say how to show and order
// them.  It is an ARIA grid: arrows move the current row, Enter opens it.

const TABLE_ROW_HEIGHT = 34;
const OVERSCAN = 6;
// Beside a header's text: its padding, and a hair for rounding.
const HEAD_PADDING = 22;
const SORTED = ' ↓';

// A sorted copy of `rows`; equal rows keep the order of their numbers, so that sorting is repeatable.
export function sortRows(rows, key, descending) {
	const sign = descending ? -1 : 1;
	const keys = rows.map(key);
	const order = Uint32Array.from(rows, (_, i) => i);
	order.sort((a, b) => (keys[a] < keys[b] ? -sign : keys[a] > keys[b] ? sign : rows[a] - rows[b]));
	return Array.from(order, (i) => rows[i]);
}

export class Table {
	// events: onOpen(row)
	constructor(root, events, rowHeight = TABLE_ROW_HEIGHT) {
		Object.assign(this, { root, events, rowHeight, rows: [], sorted: [], columns: [], order: null, current:
			0, pool: [] });
		root.classList.add('table');
		root.style.setProperty('--row-height', rowHeight + 'px');
		this.head = root.appendChild(document.createElement('div'));
		this.head.className = 'table-head';
		this.head.setAttribute('role', 'row');
		this.body = root.appendChild(document.createElement('div'));
		this.body.className = 'table-body';
		this.body.tabIndex = 0;
		this.body.setAttribute('role', 'rowgroup');
		this.spacer = this.body.appendChild(document.createElement('div'));
		this.spacer.className = 'table-spacer';
		this.empty = this.body.appendChild(document.createElement('p'));
		this.empty.className = 'empty';
		this.body.addEventListener('scroll', () => this.render(), { passive: true });
		this.body.addEventListener('keydown', (event) => this.key(event));
		this.body.addEventListener('click', (event) => this.click(event));
		new ResizeObserver(() => this.render()).observe(this.body);
	}

	// columns: [{ key, label, title, className, width, value(row) for sorting, fill(cell, row), descending }]; width is
	// one of a grid's tracks, the rest of the room when it is missing.
	// room: what a column without a width has at least, in pixels; in less the table scrolls sideways.
	show({ name, columns, rows, sort, emptyText, room = 130 }) {
		// No header is cut off, whatever font the browser has.
		const widths = columns.map(({ label, width }) => width ? Math.max(parseInt(width, 10), this.headWidth(label)) : 0);
		const least = widths.reduce((sum, width) => sum + (width || room), 0);
		this.root.style.setProperty('--table-width', least + 'px');
		this.root.style.setProperty('--columns', widths.map((width) => width ? width + 'px' : 'minmax(0, 1fr)').join(' '));
		const keys = name + ' ' + columns.map(({ key, label }) => key + ' ' + label).join(' ');
		if (this.keys !== keys) {
			this.keys = keys;
			this.name = name;
			this.columns = columns;
			this.pool.forEach((element) => element.remove());
			this.pool = [];
			this.buildHead();
		}
		// As it was sorted by hand, else as the view wants it.
		this.order = this.orders?.get(name) || sort;
		this.columns = columns;
		this.rows = rows;
		this.empty.textContent = emptyText;
		this.sort();
	}

	headWidth(label) {
		this.measure ??= document.createElement('canvas').getContext('2d');
		this.measure.font = '550 12px ' + getComputedStyle(this.head).fontFamily;
		return Math.ceil(this.measure.measureText(label + SORTED).width) + HEAD_PADDING;
	}

	buildHead() {
		this.head.className = 'table-head ' + this.name;
		this.body.className = 'table-body ' + this.name;
		this.head.replaceChildren(...this.columns.map((column) => {
			const cell = document.createElement('button');
			cell.type = 'button';
			cell.className = column.className || '';
			cell.textContent = column.label;
			cell.title = column.label + (column.title ? ': ' + column.title : '');
			cell.setAttribute('role', 'columnheader');
			cell.addEventListener('click', () => {
				const same = this.order.key === column.key;
				this.order = { key: column.key, descending: same ? !this.order.descending : !!column.descending };
				this.orders = (this.orders || new Map()).set(this.name, this.order);
				this.sort();
			});
			return cell;
		}));
	}

	sort() {
		const column = this.columns.find((candidate) => candidate.key === this.order.key) || this.columns[0];
		this.sorted = sortRows(this.rows, column.value, this.order.descending);
		this.columns.forEach((candidate, i) => {
			const sorted = candidate === column ? (this.order.descending ? 'descending' : 'ascending') : 'none';
			this.head.children[i].setAttribute('aria-sort', sorted);
		});
		this.root.setAttribute('aria-rowcount', String(this.sorted.length + 1));
		this.body.scrollTop = 0;
		this.current = Math.max(0, this.chosen === undefined ? 0 : this.sorted.indexOf(this.chosen));
		this.render();
	}

	render() {
		this.spacer.style.height = this.sorted.length * this.rowHeight + 'px';
		this.empty.hidden = this.sorted.length > 0;
		const first = Math.max(0, Math.floor(this.body.scrollTop / this.rowHeight) - OVERSCAN);
		const wanted = Math.min(this.sorted.length - first,
			Math.ceil(this.body.clientHeight / this.rowHeight) + 2 * OVERSCAN);
		while (this.pool.length < wanted)
			this.pool.push(this.makeRow());
		this.pool.forEach((element, i) => {
			element.hidden = i >= wanted;
			if (i < wanted)
				this.fillRow(element, first + i);
		});
	}

	makeRow() {
		const element = this.spacer.appendChild(document.createElement('div'));
		element.className = 'table-row';
		element.setAttribute('role', 'row');
		for (const column of this.columns) {
			const cell = element.appendChild(document.createElement('div'));
			cell.className = column.className || '';
			cell.setAttribute('role', 'gridcell');
		}
		return element;
	}

	fillRow(element, position) {
		const row = this.sorted[position];
		element.style.transform = 'translateY(' + position * this.rowHeight + 'px)';
		element.dataset.position = position;
		element.id = this.root.id + '-row-' + position;
		element.setAttribute('aria-rowindex', String(position + 2));
		element.classList.toggle('current', position === this.current);
		element.setAttribute('aria-selected', String(row === this.chosen));
		this.columns.forEach((column, i) => column.fill(element.children[i], row));
	}

	click(event) {
		const element = event.target.closest('.table-row');
		if (!element)
			return;
		this.current = Number(element.dataset.position);
		this.chosen = this.sorted[this.current];
		this.render();
		this.events.onOpen(this.sorted[this.current]);
	}

	key(event) {
		const page = Math.max(1, Math.floor(this.body.clientHeight / this.rowHeight) - 1);
		const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
		if (event.key === 'Enter' && this.sorted.length) {
			event.preventDefault();
			this.events.onOpen(this.sorted[this.current]);
		}
		if (!(event.key in steps) || !this.sorted.length)
			return;
		event.preventDefault();
		this.current = Math.min(this.sorted.length - 1, Math.max(0, this.current + steps[event.key]));
		const top = this.current * this.rowHeight;
		if (top < this.body.scrollTop)
			this.body.scrollTop = top;
		else if (top + this.rowHeight > this.body.scrollTop + this.body.clientHeight)
			this.body.scrollTop = top + this.rowHeight - this.body.clientHeight;
		this.body.setAttribute('aria-activedescendant', this.root.id + '-row-' + this.current);
		this.render();
	}
}
