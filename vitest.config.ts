import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    // One process per worker without per-file isolation: pure code needs none, and it is ten times faster.
    pool: "forks",
    isolate: false,
    maxWorkers: 2,
    // Against what waits forever only: a slow or busy machine may take as long as it needs.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
