// SPDX-License-Identifier: MIT
// Unpacks the page's script and runs it.  That is an inline script like any other to the browser: it runs because its
// hash stands in the page's content policy.  Not a module: this is the script that a browser reads first.
(async () => {
	try {
		const packed = document.getElementById('code');
		const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
		const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
		const script = document.createElement('script');
		script.textContent = await new Response(unpacked).text();
		packed.remove();
		document.head.append(script);
	} catch (error) {
		const notice = document.getElementById('failure');
		notice.textContent = 'This report cannot be shown: ' + error.message +
			(window.DecompressionStream ? '' : ' (this browser is too old: it has no DecompressionStream)');
		notice.hidden = false;
		document.getElementById('app').hidden = true;
		throw error;
	}
})();
