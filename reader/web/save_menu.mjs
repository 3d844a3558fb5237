// SPDX-License-Identifier: MIT
// The one menu that saves pictures: of the view that is open, when it draws something, and of the time line; each as
// PNG or as SVG.  A view that can be saved has drawing(): { width, height, draw(context) }, or null for now.
import { byId, element } from './dom.mjs';
import { pictureName, pngPicture, saveBlob, svgPicture } from './picture.mjs';

export class SaveMenu {
	constructor(app) {
		this.app = app;
		this.button = byId('save');
		this.menu = byId('save-menu');
		this.button.addEventListener('click', () => this.toggle(this.menu.hidden));
		this.menu.addEventListener('keydown', (event) => this.key(event));
		addEventListener('pointerdown', (event) => {
			if (!this.menu.hidden && !this.menu.contains(event.target) && !this.button.contains(event.target))
				this.toggle(false);
		});
	}

	// [[name in a file, title, drawing]]
	drawings() {
		const { app } = this;
		const view = app.viewed;
		return [[view.name, view.title, app.opened.get(view).drawing?.()],
			['time-line', 'Memory over time', app.timeCard.drawing()]].filter(([, , drawing]) => drawing);
	}

	toggle(open, back = true) {
		this.menu.hidden = !open;
		this.button.setAttribute('aria-expanded', String(open));
		if (open)
			this.fill();
		else if (back)
			this.button.focus();
	}

	fill() {
		const rows = [];
		for (const [name, title, drawing] of this.drawings()) {
			const row = element('div', 'save-row');
			row.setAttribute('role', 'group');
			row.setAttribute('aria-label', title);
			row.append(element('span', '', title));
			for (const type of ['png', 'svg']) {
				const item = element('button', 'toggle', type.toUpperCase());
				item.type = 'button';
				item.setAttribute('role', 'menuitem');
				item.setAttribute('aria-label', title + ' as ' + type.toUpperCase());
				item.title = pictureName(this.app.report.meta, name, type);
				item.addEventListener('click', () => {
					this.toggle(false);
					this.save(name, title, drawing, type);
				});
				row.append(item);
			}
			rows.push(row);
		}
		this.menu.replaceChildren(...(rows.length ? rows : [element('p', 'muted', 'Nothing is drawn here.')]));
		this.menu.querySelector('button')?.focus();
	}

	save(name, title, drawing, type) {
		const { meta } = this.app.report;
		const file = pictureName(meta, name, type);
		if (type === 'svg') {
			const text = svgPicture(drawing, title + ' – ' + byId('title').textContent);
			saveBlob(new Blob([text], { type: 'image/svg+xml' }), file);
			return;
		}
		pngPicture(drawing, (blob) => {
			if (blob)
				saveBlob(blob, file);
			else
				byId('spoken').textContent = 'This browser could not draw the picture.';
		});
	}

	key(event) {
		const items = [...this.menu.querySelectorAll('button')];
		const at = items.indexOf(document.activeElement);
		const step = { ArrowRight: 1, ArrowDown: 2, ArrowLeft: -1, ArrowUp: -2 }[event.key];
		if (event.key === 'Escape') {
			event.stopPropagation();
			this.toggle(false);
		} else if (event.key === 'Tab') {
			this.toggle(false, false);
		} else if (step && items.length) {
			event.preventDefault();
			event.stopPropagation();
			items[(at + step + items.length) % items.length].focus();
		}
	}
}
