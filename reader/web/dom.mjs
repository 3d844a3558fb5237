// SPDX-License-Identifier: MIT
// Small helpers for making elements.  All text goes through textContent: a name can never become markup.

export function element(tag, className, text) {
	const made = document.createElement(tag);
	if (className)
		made.className = className;
	if (text !== undefined)
		made.textContent = text;
	return made;
}

export function byId(id) {
	return document.getElementById(id);
}

export function button(className, text, title, act) {
	const made = element('button', className, text);
	made.type = 'button';
	if (title)
		made.title = title;
	made.addEventListener('click', act);
	return made;
}

export function legendEntry(className, text) {
	const made = element('span', 'legend-entry');
	made.append(element('span', 'dot ' + className), text);
	return made;
}

// One of several: buttons that behave as radio buttons do (or, with role `tab`, as tabs).  options: [[value, text]].
// Returns a function that marks the chosen one.
export function choiceButtons(root, options, choose, role = 'radio') {
	const buttons = options.map(([value, text]) => {
		const made = button('', text ?? '', '', () => choose(value));
		made.setAttribute('role', role);
		made.dataset.value = value;
		return made;
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
	const attribute = role === 'tab' ? 'aria-selected' : 'aria-checked';
	return (value) => buttons.forEach((made) => {
		made.setAttribute(attribute, String(made.dataset.value === value));
		made.tabIndex = made.dataset.value === value ? 0 : -1;
	});
}
