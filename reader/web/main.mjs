// SPDX-License-Identifier: MIT
// Starts the page: reads its data, then shows them.  What fails is said on the page, in words.
import { App } from './app.mjs';
import { loadReport } from './data.mjs';

function showFailure(error) {
	const notice = document.getElementById('failure');
	notice.textContent = 'This report cannot be shown: ' + error.message;
	notice.hidden = false;
	document.getElementById('app').hidden = true;
}

export async function startPage() {
	try {
		const columns = document.getElementById('columns');
		const report = await loadReport(columns.textContent, document.getElementById('meta').textContent);
		// The text is megabytes that nobody needs any more.
		columns.textContent = '';
		const app = new App(report);
		requestAnimationFrame(() => requestAnimationFrame(() => {
			document.documentElement.dataset.ready = String(Math.round(performance.now()));
		}));
		return app;
	} catch (error) {
		showFailure(error);
		throw error;
	}
}

export const page = typeof document === 'undefined' ? null : startPage();
