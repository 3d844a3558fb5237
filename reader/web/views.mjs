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
//
// A view reads app.report, app.model, app.state and app.tree (the tree of the state), changes the state by
// app.set({ ... }), and shows a frame beside it by app.showFrame.  Its style is view_NAME.css, of which every rule
// begins with #view-NAME or a class that begins with NAME-.
import { flameView } from './view_flame.mjs';

export const VIEWS = [flameView];
