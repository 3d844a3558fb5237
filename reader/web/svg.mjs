// SPDX-License-Identifier: MIT
// A drawing context that writes SVG: what a view draws on its canvas it draws on this, and the picture is the same.
// Only what the views use is here.

function escapeText(text) {
	return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])
		.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd');
}

const round = (number) => String(Math.round(number * 1000) / 1000);

export class SvgContext {
	// measure: a canvas's context, for the widths of texts
	constructor(width, height, measure) {
		Object.assign(this, { width, height, measure, fillStyle: '#000', strokeStyle: '#000', lineWidth: 1, globalAlpha: 1 });
		this.textAlign = 'left';
		this.textBaseline = 'alphabetic';
		this.parts = [];
		this.path = [];
		this.turned = '';
		this.dash = '';
	}

	get font() {
		return this.measure.font;
	}

	set font(font) {
		this.measure.font = font;
	}

	measureText(text) {
		return this.measure.measureText(text);
	}

	setTransform(a, b, c, d, e, f) {
		this.turned = a === 1 && b === 0 && e === 0 && f === 0 ? '' :
			` transform="matrix(${[a, b, c, d, e, f].map(round).join(' ')})"`;
	}

	fillRect(x, y, width, height) {
		this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
			`fill="${this.fillStyle}"${this.opacity('opacity')}${this.turned}/>`);
	}

	opacity(name) {
		return this.globalAlpha === 1 ? '' : ` ${name}="${round(this.globalAlpha)}"`;
	}

	setLineDash(lengths) {
		this.dash = lengths.length ? ` stroke-dasharray="${lengths.map(round).join(' ')}"` : '';
	}

	roundRect(x, y, width, height, radius) {
		const corner = (toX, toY) => `A${round(radius)} ${round(radius)} 0 0 1 ${round(toX)} ${round(toY)}`;
		this.path.push(`M${round(x + radius)} ${round(y)}H${round(x + width - radius)}`, corner(x + width, y + radius),
			`V${round(y + height - radius)}`, corner(x + width - radius, y + height), `H${round(x + radius)}`,
			corner(x, y + height - radius), `V${round(y + radius)}`, corner(x + radius, y), 'Z');
	}

	strokeRect(x, y, width, height) {
		this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
			`fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}"${this.turned}/>`);
	}

	fillText(text, x, y) {
		this.putText(text, x, y, `fill="${this.fillStyle}"`);
	}

	strokeText(text, x, y) {
		this.putText(text, x, y, `fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}" ` +
			'stroke-linejoin="round"');
	}

	putText(text, x, y, look) {
		const anchor = { left: 'start', center: 'middle', right: 'end' }[this.textAlign];
		const drop = this.textBaseline === 'middle' ? 0.35 * parseFloat(/[\d.]+px/.exec(this.font)) : 0;
		this.parts.push(`<text x="${round(x)}" y="${round(y + drop)}" ${look} ` +
			`text-anchor="${anchor}"${this.turned} ` +
			`font-size="${/[\d.]+(?=px)/.exec(this.font)}">${escapeText(text)}</text>`);
	}

	beginPath() {
		this.path = [];
	}

	moveTo(x, y) {
		this.path.push(`M${round(x)} ${round(y)}`);
	}

	lineTo(x, y) {
		this.path.push((this.path.length ? 'L' : 'M') + `${round(x)} ${round(y)}`);
	}

	// In two halves, because SVG has no arc that ends where it begins.
	arc(x, y, radius, from, to, backwards = false) {
		const at = (angle) => `${round(x + radius * Math.cos(angle))} ${round(y + radius * Math.sin(angle))}`;
		const sweep = backwards ? 0 : 1;
		const middle = (from + to) / 2;
		this.path.push((this.path.length ? 'L' : 'M') + at(from));
		for (const angle of [middle, to])
			this.path.push(`A${round(radius)} ${round(radius)} 0 0 ${sweep} ${at(angle)}`);
	}

	closePath() {
		this.path.push('Z');
	}

	fill() {
		this.parts.push(`<path d="${this.path.join('')}" fill="${this.fillStyle}"` +
			`${this.opacity('fill-opacity')}${this.turned}/>`);
	}

	stroke() {
		this.parts.push(`<path d="${this.path.join('')}" fill="none" stroke="${this.strokeStyle}" ` +
			`stroke-width="${this.lineWidth}"${this.dash}${this.turned}/>`);
	}

	finish(title) {
		return `<svg xmlns="http:${'//'}www.w3.org/2000/svg" width="${round(this.width)}" height="${round(this.height)}" ` +
			`viewBox="0 0 ${round(this.width)} ${round(this.height)}" font-family="system-ui, sans-serif">` +
			`<title>${escapeText(title)}</title>\n` + this.parts.join('\n') + '\n</svg>\n';
	}
}
