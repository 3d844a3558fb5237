// SPDX-License-Identifier: MIT
// Saving: pictures of a view as PNG or SVG, and tables as text, each as a download that nobody but the browser sees.
import { button, element } from './dom.mjs';
import { SvgContext } from './svg.mjs';

const SCALE = 2;
// Browsers draw no larger canvases.
const PIXELS_MAX = 16384;

export function saveBlob(blob, name) {
	const link = element('a');
	link.href = URL.createObjectURL(blob);
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// drawing: { width, height, draw(context) }.
export function svgPicture({ width, height, draw }, title) {
	const context = new SvgContext(width, height, element('canvas').getContext('2d'));
	draw(context);
	return context.finish(title);
}

export function pngPicture({ width, height, draw }, done) {
	const canvas = element('canvas');
	const scale = Math.min(SCALE, PIXELS_MAX / Math.max(width, height));
	canvas.width = Math.ceil(width * scale);
	canvas.height = Math.ceil(height * scale);
	const context = canvas.getContext('2d');
	// What draws sets the scale to 1 first.
	const setTransform = context.setTransform.bind(context);
	context.setTransform = (...matrix) => setTransform(...matrix.map((number) => number * scale));
	draw(context);
	canvas.toBlob(done, 'image/png');
}

// Two buttons.  drawing(): what is to be saved now; title(): of the picture.
export function saveButtons(name, drawing, title) {
	const group = element('div', 'segments saves');
	group.setAttribute('role', 'group');
	group.setAttribute('aria-label', 'Save as a picture');
	group.append(
		button('', 'PNG', 'Save what is shown as a PNG picture', () => pngPicture(drawing(),
			(blob) => saveBlob(blob, 'sctmem-' + name + '.png'))),
		button('', 'SVG', 'Save what is shown as an SVG picture', () => saveBlob(
			new Blob([svgPicture(drawing(), title())], { type: 'image/svg+xml' }), 'sctmem-' + name + '.svg')));
	return group;
}
