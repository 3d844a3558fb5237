// SPDX-License-Identifier: MIT
// The views of the page: one module each, and its line here.  Tabs, keys, help and address follow from this list.
//
// A view is an object:
//
//     name       its word in the address (w=NAME) and in ids: tab-NAME, view-NAME
//     title      on its tab
//     hint       what it shows, for the tab's tooltip and the help
//     key        a capital letter that opens it
//     side       which panels stand beside it: an array of 'table', 'details'
//     fields     optional: what it adds to the state, { key: { letter, initial, accepts } }; see state.mjs.  The
//                letters of all views are different; after the 26 small ones come two letters
//     offered    optional: (report) => false where this page has nothing for it; then it has no tab
//     create     (root, app) => the view: builds its elements below `root`, called when it is first opened
//
// What `create` returns:
//
//     update({ animate, changed })   makes it show app.state; called when it is opened and whenever the state changes
//     setTheme(palette)              optional; called before the first update, and when the theme changes
//     draw()                         optional: draws at once, before printing
//     focus()                        optional: takes the keyboard
//     openRow(row)                   optional: what a click in the side's table does; the row is a group of
//                                    app.model.groupsOf(app.state), or with state.table `sites` a site
//
// A view reads app.report, app.model, app.state and app.tree (the tree of the state), changes the state by
// app.set({ ... }), and opens a node of the tree
// by app.open, a function by app.openGroup.  Its style is view_NAME.css, of which every rule
// begins with #view-NAME or a class that begins with NAME-.
import { callersView } from './view_callers.mjs';
import { diffView } from './view_diff.mjs';
import { flameView } from './view_flame.mjs';
import { insightsView } from './view_insights.mjs';
import { leaksView } from './view_leaks.mjs';
import { modulesView, processesView, threadsView } from './view_parts.mjs';
import { sourceView } from './view_source.mjs';
import { summaryView } from './view_summary.mjs';
import { sunburstView } from './view_sunburst.mjs';
import { tableView } from './view_table.mjs';

export const VIEWS = [
	summaryView, diffView, flameView, sunburstView, callersView, tableView, leaksView, sourceView, insightsView,
	threadsView, modulesView, processesView,
];
