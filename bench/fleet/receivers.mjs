/** Receivers in one process: node receivers.mjs DIR COUNT HOST PORT; says "ready" when all listen. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { serve } from "../../dist/index.js";

const [directory, count, host, port] = process.argv.slice(2);
for (let i = 0; i < Number(count); i++) {
  const inbox = join(directory, `in${i}`);
  mkdirSync(inbox, { recursive: true });
  await serve({
    directory: inbox,
    home: join(directory, `home${i}`),
    listen: `${host}:${Number(port) + i}`,
    open: true,
  });
}
console.log("ready");
