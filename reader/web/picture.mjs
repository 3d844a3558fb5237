// SPDX-License-Identifier: MIT
// Saving: pictures of a view as PNG or SVG, and tables as text, each as a download that nobody but the browser sees.
import { element } from './dom.mjs';
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

// "app.bin" and "flame" make "app-flame.svg": capture and view are in the name, and nothing that a file name may not
// have.
export function pictureName(meta, view, type) {
	const nameOf = (capture) => {
		const base = (capture?.path ?? '').split('/').pop().replace(/\.bin$/, '');
		return base.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^[._-]+/, '').slice(0, 80) || 'sctmem';
	};
	const before = meta.before_run ? '-against-' + nameOf(meta.before_run.captures[0]) : '';
	return nameOf(meta.captures[0]) + before + '-' + view + '.' + type;
}

// Draws so much below the top of a picture; what draws sets the context's scale first.
export function drawBelow(context, top, draw) {
	const own = Object.hasOwn(context, 'setTransform');
	const { setTransform } = context;
	context.setTransform = (a, b, c, d, e, f) => setTransform.call(context, a, b, c, d, e, f + top * d);
	draw();
	if (own)
		context.setTransform = setTransform;
	else
		delete context.setTransform;
	context.setTransform(1, 0, 0, 1, 0, 0);
}

const LEGEND_HEIGHT = 22;
const LEGEND_FONT = '11px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';

// The picture with a line below that says what its colours are.  entries: [[colour, text]].
export function withLegend(drawing, entries, palette) {
	const draw = (context) => {
		drawing.draw(context);
		context.setTransform(1, 0, 0, 1, 0, 0);
		context.fillStyle = palette.paper;
		context.fillRect(0, drawing.height, drawing.width, LEGEND_HEIGHT);
		context.font = LEGEND_FONT;
		context.textAlign = 'left';
		context.textBaseline = 'middle';
		let x = 8;
		for (const [colour, text] of entries) {
			context.fillStyle = colour;
			context.fillRect(x, drawing.height + 7, 10, 8);
			context.fillStyle = palette.text;
			context.fillText(text, x + 15, drawing.height + 11.5);
			x += 31 + context.measureText(text).width;
		}
	};
	return { width: drawing.width, height: drawing.height + LEGEND_HEIGHT, draw };
}
