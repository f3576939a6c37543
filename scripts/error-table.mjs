// Writes docs/errors.md from the error table. Run after a build: node scripts/error-table.mjs
import { writeFileSync } from "node:fs";
import { ERRORS } from "../dist/base/errors.js";

const rows = Object.entries(ERRORS).map(
  ([code, { exit, retryable, wire }]) =>
    `| \`${code}\` | ${exit} | ${retryable ? "yes" : "no"} | 0x${wire.toString(16).padStart(2, "0")} |`,
);
writeFileSync(
  "docs/errors.md",
  `# Errors

Every failure has a stable code. \`error.code\` and \`error.retryable\` in the library, \`errors[].code\` in \`--json\`, and the exit status come from one table, \`src/base/errors.ts\`; this page is made from it by \`scripts/error-table.mjs\`.

| code | exit status | the same command may succeed later | code on the wire |
|---|---|---|---|
${rows.join("\n")}
`,
);
