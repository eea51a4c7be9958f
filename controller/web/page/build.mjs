// Builds the page into ../static (or into the folder given), from these sources and the locked packages alone.
// The same input gives the same bytes: no hashes in names, no times, no paths of this machine.

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "static");
const SHIPPED = ["preact", "@preact/signals", "@preact/signals-core", "hls.js", "mpegts.js", "events", "es6-promise"];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  // Three files: the players are loaded when somebody plays.
  entryPoints: {
    page: "src/main.tsx",
    "page-style": "src/page.css",
    "player-hls": "src/players/hls.ts",
    "player-ts": "src/players/ts.ts",
  },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome110", "firefox115", "safari16"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  external: ["./player-hls.js", "./player-ts.js"],
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) {
  await copyFile(join(here, "src", name), join(out, name));
}
await writeFile(join(out, "licences.txt"), await licences());

/** The licence texts of what is built in. */
async function licences() {
  const parts = ["The page contains the following packages.\n"];
  for (const name of SHIPPED) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const text = (await readFile(join(folder, "LICENSE"), "utf8")).replaceAll("\r\n", "\n").trim();
    parts.push(`${"=".repeat(78)}\n${name} ${version} (${license})\n${"=".repeat(78)}\n\n${text}\n`);
  }
  return parts.join("\n");
}
