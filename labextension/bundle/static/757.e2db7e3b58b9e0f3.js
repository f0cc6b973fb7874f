"use strict";(self.rspackChunkmlx_notebook=self.rspackChunkmlx_notebook||[]).push([[757],{1081(e,r,a){var o=a(1601),l=a.n(o),t=a(6314),i=(a.n(t))()(l());i.push([e.id,`/* Styles of all panels. Colours come from the frontend, with those of VS Code and the system as fallbacks. */
.mlx-panel {
  --background: var(--jp-layout-color1, var(--vscode-editor-background, Canvas));
  --background-raised: var(--jp-layout-color2, var(--vscode-sideBar-background, Canvas));
  --text: var(--jp-ui-font-color1, var(--vscode-foreground, CanvasText));
  --border: var(--jp-border-color1, var(--vscode-panel-border, GrayText));
  --border-soft: var(--jp-border-color2, var(--vscode-panel-border, GrayText));
  --accent: var(--jp-brand-color1, var(--vscode-focusBorder, Highlight));
  --success: var(--jp-success-color1, #2e7d32);
  --warning: var(--jp-warn-color0, #b85c00);
  --danger: var(--jp-error-color1, #c62828);
  container: mlx / inline-size;
  position: relative;
  box-sizing: border-box;
  padding: 12px 16px;
  border: 1px solid var(--border-soft);
  border-radius: 6px;
  background: var(--background);
  color: var(--text);
  font: 13px/1.45 var(--jp-ui-font-family, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
}
.mlx-panel .mlx-panel { padding: 4px 0 0; border: 0; }
.mlx-panel .mlx-panel > header { display: none; }
.mlx-panel *, .mlx-panel *::before { box-sizing: border-box; }
/* biome-ignore lint/complexity/noImportantStyles: \`hidden\` wins over every \`display\` below. */
.mlx-panel [hidden] { display: none !important; }
.mlx-panel h2 { margin: 0 0 10px; font-size: 15px; font-weight: 600; }
.mlx-panel h3 { margin: 16px 0 6px; font-size: 13px; font-weight: 600; }
.mlx-panel h4 { margin: 12px 0 4px; font-size: 12px; font-weight: 600; }
.mlx-panel p { margin: 4px 0; }
.mlx-panel ul { margin: 0; padding: 0; list-style: none; }
.mlx-panel pre {
  margin: 4px 0; padding: 8px; max-height: 320px; overflow: auto;
  border-radius: 4px; background: var(--background-raised); color: var(--text);
  font: 12px/1.45 var(--jp-code-font-family, monospace);
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.mlx-panel :is(button, input, select, textarea) { font: inherit; color: var(--text); }
.mlx-panel :is(button, input, select, textarea, summary, pre, a):focus-visible {
  outline: 2px solid var(--accent); outline-offset: 1px;
}
.mlx-panel :is(input, select, textarea) {
  min-height: 28px; padding: 3px 8px; max-width: 100%;
  border: 1px solid var(--border); border-radius: 4px; background: var(--background);
}
.mlx-button {
  min-height: 28px; padding: 3px 10px; cursor: pointer; white-space: nowrap;
  border: 1px solid var(--border); border-radius: 4px; background: var(--background);
}
.mlx-button:hover { background: var(--background-raised); }
.mlx-button.mlx-main { border-color: var(--accent); font-weight: 600; }
.mlx-button[aria-disabled="true"] { cursor: progress; border-style: dashed; }
.mlx-row { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 8px; }
.mlx-row > .mlx-grow { flex: 1 1 160px; min-width: 0; }
.mlx-name { font-weight: 600; overflow-wrap: anywhere; }
.mlx-tag { padding: 0 6px; border: 1px solid var(--border-soft); border-radius: 8px; font-size: 11px; }
.mlx-empty { padding: 10px 0; }
.mlx-notice, .mlx-problem {
  padding: 6px 10px; border-left: 3px solid var(--accent); background: var(--background-raised);
}
.mlx-notice {
  position: absolute; right: 12px; z-index: 2; display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px;
  max-width: min(60ch, calc(100% - 24px)); overflow-wrap: anywhere;
  border: 1px solid var(--border); border-left: 3px solid var(--accent); border-radius: 4px;
  box-shadow: 0 2px 8px rgb(0 0 0 / 30%);
}
.mlx-notice.mlx-error, .mlx-problem, .mlx-invalid { border-left: 3px solid var(--danger); }
.mlx-invalid { padding-left: 8px; overflow-wrap: anywhere; }
.mlx-valid { border-left: 3px solid var(--success); padding-left: 8px; }
.mlx-meter { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 10px; }
.mlx-bar {
  flex: 1 1 120px; height: 8px; border-radius: 4px; overflow: hidden;
  background: var(--background-raised); border: 1px solid var(--border-soft);
}
.mlx-fill { display: block; height: 100%; background: var(--accent); }
.mlx-bar[data-level="amber"] .mlx-fill { background: var(--warning); }
.mlx-bar[data-level="red"] .mlx-fill { background: var(--danger); }
.mlx-items .mlx-meter { margin-top: 6px; }
.mlx-items .mlx-progress { position: absolute; bottom: 0; left: 0; right: 0; margin: 0; }
.mlx-progress .mlx-bar { height: 4px; border-width: 0; }
.mlx-progress .mlx-meter-text { display: none; }
.mlx-meter + .mlx-row { margin-top: 8px; }
.mlx-compose select { width: 280px; }
.mlx-end { margin-left: auto; }
.mlx-compose > * { margin-top: 6px; }
.mlx-items > li { position: relative; padding: 8px 0; border-top: 1px solid var(--border-soft); }
.mlx-tiles { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; }
.mlx-tile { padding: 8px 10px; border: 1px solid var(--border-soft); border-radius: 4px; }
.mlx-tile b { display: block; font-size: 18px; font-weight: 600; line-height: 1.3; }
.mlx-charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 8px 16px; }
.mlx-chart svg { display: block; width: 100%; height: 56px; border-bottom: 1px solid var(--border); }
.mlx-chart path { fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.mlx-chart figcaption { display: flex; justify-content: space-between; gap: 0 8px; flex-wrap: wrap; }
.mlx-chart { margin: 0; }
.mlx-split { display: grid; gap: 12px; margin-top: 8px; grid-template-columns: minmax(0, 1fr); }
.mlx-list { max-height: 220px; overflow: auto; border: 1px solid var(--border-soft); border-radius: 4px; }
.mlx-list button {
  display: block; width: 100%; padding: 6px 10px; text-align: left; cursor: pointer;
  border: 0; border-bottom: 1px solid var(--border-soft); background: var(--background);
}
.mlx-list button:hover { background: var(--background-raised); }
.mlx-list button:focus-visible { outline-offset: -2px; }
.mlx-list button[aria-current="true"] { background: var(--background-raised); box-shadow: inset 3px 0 var(--accent); }
.mlx-images span { display: flex; align-items: center; gap: 8px; }
.mlx-list button span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mlx-two { display: grid; gap: 8px 12px; grid-template-columns: minmax(0, 1fr); }
.mlx-form { display: grid; margin-top: 8px; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); align-items: end; }
.mlx-form label { display: grid; gap: 2px; grid-template-columns: minmax(0, 1fr); }
.mlx-panel th { white-space: nowrap; }
.mlx-form :is(input, select) { width: 100%; min-width: 0; }
.mlx-form + .mlx-row { margin: 8px 0; }
.mlx-message { margin: 8px 0; }
.mlx-message > b { font-size: 12px; }
.mlx-text { white-space: pre-wrap; overflow-wrap: anywhere; }
.mlx-panel summary { cursor: pointer; padding: 3px 0; font-weight: 600; }
.mlx-panel table { border-collapse: collapse; margin: 4px 0; }
.mlx-panel :is(th, td) { padding: 2px 14px 2px 0; text-align: left; font-weight: 400; vertical-align: top; }
.mlx-log { max-height: 420px; overflow: auto; padding: 4px 2px; }
.mlx-entry { margin: 8px 0; padding: 8px 10px; border: 1px solid var(--border-soft); border-radius: 6px; }
.mlx-entry.mlx-user { background: var(--background-raised); margin-left: 12%; }
.mlx-entry img, .mlx-images img { max-width: 160px; max-height: 120px; border: 1px solid var(--border-soft); border-radius: 4px; }
.mlx-entry img { display: block; margin: 4px 0; }
.mlx-entry small { display: block; margin-top: 2px; }
.mlx-markdown { overflow-wrap: anywhere; }
.mlx-panel .mlx-markdown .jp-RenderedMarkdown { padding: 0; font-size: inherit; }
.mlx-panel .mlx-markdown pre { margin: 2px 0 8px; padding: 8px; border: 1px solid var(--border-soft); background: var(--background); }
.mlx-panel .mlx-markdown :is(pre code, pre span, tr) { background: none; }
.mlx-panel .mlx-markdown :is(h1, h2, h3, h4, h5, h6) { margin: 10px 0 4px; font-size: 1.1em; font-weight: 600; }
.mlx-panel .mlx-markdown h1 { font-size: 1.4em; }
.mlx-panel .mlx-markdown h2 { font-size: 1.25em; }
.mlx-code-tools { margin-top: 6px; }
.mlx-change { padding: 2px 10px; border-left: 3px solid var(--accent); }
.mlx-change.mlx-error { border-left-color: var(--danger); }
.mlx-change:empty { display: none; }
.mlx-screen-reader { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.mlx-call { display: block; font: 12px/1.45 var(--jp-code-font-family, monospace); overflow-wrap: anywhere; }
.mlx-entry textarea, .mlx-compose textarea { width: 100%; min-height: 60px; resize: vertical; }
.mlx-panel input[type="file"] { display: none; }
.mlx-tabs { display: flex; flex-wrap: wrap; gap: 4px; margin-bottom: 8px; }
.mlx-tabs button[aria-selected="true"] { border-color: var(--accent); font-weight: 600; box-shadow: inset 0 -3px var(--accent); }
@media (forced-colors: active) {
  .mlx-tabs button[aria-selected="true"] { outline: 2px solid Highlight; outline-offset: -4px; }
  .mlx-fill { background: Highlight; forced-color-adjust: none; }
}
.mlx-users { width: 100%; }
.mlx-users tbody th { font-weight: 600; }
.mlx-users :is(th, td) { padding: 5px 8px; border-top: 1px solid var(--border-soft); text-align: right; }
.mlx-users thead th { padding: 4px 2px; border-top: 0; }
.mlx-users tr > :first-child { padding-left: 0; text-align: left; white-space: normal; overflow-wrap: anywhere; }
.mlx-users thead .mlx-button { padding: 3px 6px; border-color: transparent; }
.mlx-users [aria-sort] .mlx-button { border-color: var(--border); font-weight: 600; }
.mlx-find { margin-top: 12px; }
@container mlx (max-width: 519px) {
  .mlx-users, .mlx-users tbody { display: block; }
  .mlx-users thead tr { display: flex; flex-wrap: wrap; gap: 4px; margin-bottom: 6px; }
  .mlx-users thead th { padding: 0; }
  .mlx-users thead .mlx-button { border-color: var(--border-soft); }
  .mlx-users tbody tr {
    display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 16px; padding: 8px 0;
    border-top: 1px solid var(--border-soft);
  }
  .mlx-users tbody :is(th, td) { display: flex; justify-content: space-between; gap: 8px; padding: 1px 0; border: 0; }
  .mlx-users tbody th { grid-column: 1 / -1; }
  .mlx-users td::before { content: attr(data-label); }
  .mlx-items .mlx-grow { flex-basis: 100%; }
}
@container mlx (min-width: 520px) {
  .mlx-tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
@container mlx (min-width: 760px) {
  .mlx-split { grid-template-columns: minmax(220px, 1fr) minmax(0, 2.4fr); }
  .mlx-list { max-height: 640px; }
  .mlx-two { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
}
@container mlx (min-width: 1000px) {
  .mlx-tiles { grid-template-columns: repeat(6, minmax(0, 1fr)); }
}
@media (prefers-reduced-motion: no-preference) {
  .mlx-fill { transition: width 0.2s; }
}
`,""]),a.d(r,{},{A:i})},2646(e,r,a){var o=a(1601),l=a.n(o),t=a(6314),i=(a.n(t))()(l());i.push([e.id,`/* Colours come from the theme. */
.mlx-lab-dashboard { overflow: auto; padding: 8px; background: var(--jp-layout-color1); }
/* The dashboard says it once for its panels. */
.mlx-lab-dashboard .mlx-panel .mlx-panel > .mlx-problem { display: none; }
.mlx-lab-status { display: flex; align-items: stretch; }
.mlx-lab-status-button {
  display: flex; align-items: center; gap: 5px; height: 100%; max-width: 46ch; padding: 0 6px;
  border: 0; background: none; color: inherit; font: inherit; cursor: pointer; white-space: nowrap;
}
@media (max-width: 630px) {
  .mlx-lab-status-button { max-width: 22ch; }
}
.mlx-lab-status-button > span:last-child { overflow: hidden; text-overflow: ellipsis; }
.mlx-lab-status-button:hover { background: var(--jp-layout-color3); }
.mlx-lab-status-button:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: -2px; }
.mlx-lab-dot {
  flex: none; width: 8px; height: 8px; border-radius: 50%; border: 1px solid currentcolor; background: none;
}
[data-state="ready"] > .mlx-lab-dot { background: var(--jp-success-color1); }
[data-state="busy"] > .mlx-lab-dot { background: var(--jp-brand-color1); }
[data-state="loading"] > .mlx-lab-dot { background: var(--jp-warn-color1); }
[data-state="problem"] > .mlx-lab-dot { background: var(--jp-error-color1); }
.mlx-lab-menu .lm-Menu-itemLabel { max-width: min(44ch, 70vw); white-space: normal; overflow-wrap: anywhere; }

/* The state is no order, so it is disabled; it is to be read nevertheless. */
.mlx-lab-menu .lm-Menu-item.lm-mod-disabled { color: var(--jp-ui-font-color1); opacity: 1; }
.mlx-lab-button {
  min-height: 26px; padding: 2px 10px; border: 1px solid var(--jp-border-color1); border-radius: 4px;
  background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); font: inherit; cursor: pointer;
}
.mlx-lab-button:hover { background: var(--jp-layout-color2); }
.mlx-lab-button:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px; }
.mlx-lab-main { border-color: var(--jp-brand-color1); font-weight: 600; }
.mlx-lab-row, .mlx-lab-error-bar { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 10px; }
.mlx-lab-card, .mlx-lab-error-bar {
  color: var(--jp-ui-font-color1); font: var(--jp-ui-font-size1)/1.45 var(--jp-ui-font-family);
}
.mlx-lab-error-bar { margin: 4px 0 4px var(--jp-cell-prompt-width); padding-left: 8px; }
.mlx-lab-card {
  container: mlx-card / inline-size; margin: 6px 0 6px calc(var(--jp-cell-prompt-width) + 8px); padding: 8px 10px;
  border: 1px solid var(--jp-border-color1); border-left: 3px solid var(--jp-brand-color1); border-radius: 4px;
  background: var(--jp-layout-color1); overflow: visible;
}
.mlx-lab-card > * + * { margin-top: 8px; }
.mlx-lab-markdown .jp-RenderedMarkdown { padding: 0; font-size: inherit; }
.mlx-lab-markdown { overflow-wrap: anywhere; }
.mlx-lab-diff { max-height: 60vh; overflow: auto; border: 1px solid var(--jp-border-color2); }
.mlx-lab-diff .cm-editor { background: var(--jp-cell-editor-background); }
.mlx-lab-diff .cm-content { padding: 4px 0; }
.mlx-lab-diff .cm-mergeViewEditor + .cm-mergeViewEditor { border-left: 1px solid var(--jp-border-color2); }
.mlx-lab-side { padding: 2px 10px; border-bottom: 1px solid var(--jp-border-color2); font: var(--jp-ui-font-size1)/1.4 var(--jp-ui-font-family); }
.mlx-lab-new .cm-mergeViewEditor:first-child { display: none; }
.mlx-lab-new .cm-mergeViewEditor:last-child { border-left: 0; }

/* Where JupyterLab itself has the prompt above the cell. */
@media (max-width: 760px) {
  .mlx-lab-card, .mlx-lab-error-bar { margin-left: 8px; }
}
@container mlx-card (max-width: 519px) {
  .mlx-lab-diff .cm-mergeViewEditors { flex-direction: column; }
  .mlx-lab-diff .cm-mergeViewEditor { flex: none; }
  .mlx-lab-diff .cm-mergeViewEditor + .cm-mergeViewEditor { border-left: 0; border-top: 1px solid var(--jp-border-color2); }
}

/* The chat is the panel of notebooks, as high as the sidebar. */
.mlx-lab-chat { min-width: 240px; overflow: hidden; background: var(--jp-layout-color1); }
.mlx-lab-chat > .mlx-panel {
  display: flex; flex-direction: column; gap: 6px; height: 100%; padding: 8px; border: 0; border-radius: 0;
}
.mlx-lab-chat > .mlx-panel > header {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
.mlx-lab-chat .mlx-log { flex: 1; min-height: 60px; max-height: none; }
.mlx-lab-chat .mlx-empty { flex: 1; }
.mlx-lab-chat .mlx-compose { flex: none; max-height: 70%; overflow: auto; padding: 2px; }
/* While a question is open, nothing is sent: what goes along makes room for it. */
.mlx-lab-chat .mlx-compose:has([aria-label="Tool approval"]:not([hidden])) {
  max-height: 80%;
  > [aria-label="What the model sees"] { display: none; }
}
.mlx-lab-chat .mlx-compose select { width: auto; min-width: 0; max-width: 180px; }
.mlx-lab-chat .mlx-compose label.mlx-row { flex-wrap: nowrap; min-width: 0; max-width: 100%; }
.mlx-lab-chat .mlx-compose label.mlx-row > input { flex: 1 1 60px; min-width: 0; }
.mlx-lab-chat .mlx-entry.mlx-user { margin-left: 6%; }
.mlx-lab-chat .mlx-entry > .mlx-row { margin-top: 6px; }
.mlx-lab-chat textarea[aria-label="Message"] { min-height: 76px; }
.mlx-lab-conversations select { flex: 1 1 160px; min-width: 0; }
.mlx-lab-chips { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; margin-bottom: 4px; }
.mlx-lab-chip { min-height: 24px; padding: 0 8px; border-radius: 12px; }
.mlx-lab-chip[aria-pressed="true"] { border-color: var(--jp-brand-color1); box-shadow: inset 0 0 0 1px var(--jp-brand-color1); font-weight: 600; }
.mlx-lab-chip[aria-pressed="true"]::before { content: "✓ "; }
.mlx-lab-recording { border-color: var(--jp-error-color1); font-weight: 600; }
.mlx-lab-recording::before { content: "● "; color: var(--jp-error-color1); }
.mlx-lab-mentioned {
  display: flex; flex-wrap: wrap; align-items: center; gap: 2px 6px; max-width: 100%; padding: 1px 2px 1px 8px;
  border: 1px solid var(--jp-border-color1); border-radius: 4px; overflow-wrap: anywhere;
}
.mlx-lab-mentioned .mlx-lab-button { min-height: 24px; padding: 0 6px; }
.mlx-lab-mentions {
  max-height: 180px; margin-bottom: 4px; overflow: auto; border: 1px solid var(--jp-border-color1); border-radius: 4px;
  background: var(--jp-layout-color1);
}
.mlx-lab-mentions [role="option"] {
  display: flex; justify-content: space-between; gap: 8px; padding: 3px 8px; cursor: pointer; overflow-wrap: anywhere;
}
.mlx-lab-mentions [role="option"]:hover { background: var(--jp-layout-color2); }
.mlx-lab-mentions [aria-selected="true"] {
  background: var(--jp-layout-color2); box-shadow: inset 3px 0 var(--jp-brand-color1); font-weight: 600;
}
@media (forced-colors: active) {
  .mlx-lab-mentions [aria-selected="true"] { outline: 2px solid Highlight; outline-offset: -2px; }
  .mlx-lab-diff .cm-changedLine { outline: 1px solid Highlight; outline-offset: -1px; }
  .mlx-lab-diff .cm-changedText { text-decoration: underline 2px; }
}
.mlx-lab-problem { color: var(--jp-error-color1); }

.mlx-lab-settings { margin: 8px 0; color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1); }
.mlx-lab-settings h3 { margin: 0 0 4px; font-size: var(--jp-ui-font-size2); }
.mlx-lab-setting { margin: 12px 0; }
.mlx-lab-setting > label { display: block; font-weight: 600; }
.mlx-lab-help { margin: 2px 0 4px; }
.mlx-lab-field {
  box-sizing: border-box; width: 100%; max-width: 60ch; min-height: 28px; padding: 4px 6px; font: inherit;
  border: 1px solid var(--jp-border-color1); border-radius: 4px; color: inherit; background: var(--jp-layout-color1);
}
.mlx-lab-field:focus-visible { outline: 2px solid var(--jp-brand-color1); }
.mlx-lab-field:disabled { background: var(--jp-layout-color2); opacity: 1; }
.mlx-lab-said { min-height: 1.5em; }

.mlx-lab-agent-block { margin: 6px 0; padding: 6px 8px; border: 1px solid var(--jp-border-color2); border-radius: 4px; }
.mlx-lab-change { container: mlx-card / inline-size; }
.mlx-lab-change > summary { cursor: pointer; }
.mlx-lab-change > summary:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px; }
.mlx-lab-change pre { max-height: 40vh; overflow: auto; }
.mlx-lab-plan { margin: 4px 0 0; padding-left: 24px; }
.mlx-lab-chat .mlx-entry .mlx-button { max-width: 100%; white-space: normal; text-align: start; }
`,""]),a.d(r,{},{A:i})},6314(e){e.exports=function(e){var r=[];return r.toString=function(){return this.map(function(r){var a="",o=void 0!==r[5];return r[4]&&(a+="@supports (".concat(r[4],") {")),r[2]&&(a+="@media ".concat(r[2]," {")),o&&(a+="@layer".concat(r[5].length>0?" ".concat(r[5]):""," {")),a+=e(r),o&&(a+="}"),r[2]&&(a+="}"),r[4]&&(a+="}"),a}).join("")},r.i=function(e,a,o,l,t){"string"==typeof e&&(e=[[null,e,void 0]]);var i={};if(o)for(var n=0;n<this.length;n++){var p=this[n][0];null!=p&&(i[p]=!0)}for(var d=0;d<e.length;d++){var x=[].concat(e[d]);o&&i[x[0]]||(void 0!==t&&(void 0===x[5]||(x[1]="@layer".concat(x[5].length>0?" ".concat(x[5]):""," {").concat(x[1],"}")),x[5]=t),a&&(x[2]&&(x[1]="@media ".concat(x[2]," {").concat(x[1],"}")),x[2]=a),l&&(x[4]?(x[1]="@supports (".concat(x[4],") {").concat(x[1],"}"),x[4]=l):x[4]="".concat(l)),r.push(x))}},r}},1601(e){e.exports=function(e){return e[1]}},5072(e){var r=[];function a(e){for(var a=-1,o=0;o<r.length;o++)if(r[o].identifier===e){a=o;break}return a}function o(e,o){for(var l={},t=[],i=0;i<e.length;i++){var n=e[i],p=o.base?n[0]+o.base:n[0],d=l[p]||0,x="".concat(p," ").concat(d);l[p]=d+1;var s=a(x),m={css:n[1],media:n[2],sourceMap:n[3],supports:n[4],layer:n[5]};if(-1!==s)r[s].references++,r[s].updater(m);else{var c=function(e,r){var a=r.domAPI(r);return a.update(e),function(r){r?(r.css!==e.css||r.media!==e.media||r.sourceMap!==e.sourceMap||r.supports!==e.supports||r.layer!==e.layer)&&a.update(e=r):a.remove()}}(m,o);o.byIndex=i,r.splice(i,0,{identifier:x,updater:c,references:1})}t.push(x)}return t}e.exports=function(e,l){var t=o(e=e||[],l=l||{});return function(e){e=e||[];for(var i=0;i<t.length;i++){var n=a(t[i]);r[n].references--}for(var p=o(e,l),d=0;d<t.length;d++){var x=a(t[d]);0===r[x].references&&(r[x].updater(),r.splice(x,1))}t=p}}},7659(e){var r={};e.exports=function(e,a){var o=function(e){if(void 0===r[e]){var a=document.querySelector(e);if(window.HTMLIFrameElement&&a instanceof window.HTMLIFrameElement)try{a=a.contentDocument.head}catch(e){a=null}r[e]=a}return r[e]}(e);if(!o)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");o.appendChild(a)}},540(e){e.exports=function(e){var r=document.createElement("style");return e.setAttributes(r,e.attributes),e.insert(r,e.options),r}},5056(e,r,a){e.exports=function(e){var r=a.nc;r&&e.setAttribute("nonce",r)}},7825(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var r=e.insertStyleElement(e);return{update:function(a){var o,l,t;o="",a.supports&&(o+="@supports (".concat(a.supports,") {")),a.media&&(o+="@media ".concat(a.media," {")),(l=void 0!==a.layer)&&(o+="@layer".concat(a.layer.length>0?" ".concat(a.layer):""," {")),o+=a.css,l&&(o+="}"),a.media&&(o+="}"),a.supports&&(o+="}"),(t=a.sourceMap)&&"u">typeof btoa&&(o+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(t))))," */")),e.styleTagTransform(o,r,e.options)},remove:function(){var e;null===(e=r).parentNode||e.parentNode.removeChild(e)}}}},1113(e){e.exports=function(e,r){if(r.styleSheet)r.styleSheet.cssText=e;else{for(;r.firstChild;)r.removeChild(r.firstChild);r.appendChild(document.createTextNode(e))}}},7252(e,r,a){var o=a(5072),l=a.n(o),t=a(7825),i=a.n(t),n=a(7659),p=a.n(n),d=a(5056),x=a.n(d),s=a(540),m=a.n(s),c=a(1113),b=a.n(c),u=a(1081),g={};g.styleTagTransform=b(),g.setAttributes=x(),g.insert=p().bind(null,"head"),g.domAPI=i(),g.insertStyleElement=m(),l()(u.A,g),u.A&&u.A.locals&&u.A.locals;var h=a(2646),f={};f.styleTagTransform=b(),f.setAttributes=x(),f.insert=p().bind(null,"head"),f.domAPI=i(),f.insertStyleElement=m(),l()(h.A,f),h.A&&h.A.locals&&h.A.locals}}]);