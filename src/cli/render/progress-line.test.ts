import { expect, test } from "vitest";
import { progressLine, type ProgressView } from "./progress-line.ts";

const VIEW: ProgressView = {
  label: "send",
  verifiedBytes: 613_000_000,
  totalBytes: 1_000_000_000,
  committedFiles: 3,
  totalFiles: 12,
  rateBytesPerSecond: 11_762_500,
  smoothedRttUs: 80_400,
  lossFraction: 0.049,
};

test("all that is known, in one line", () => {
  // 387 MB at 11.7625 MB/s are 32.9 s.
  expect(progressLine(VIEW, 200)).toBe(
    "send  [###############---------] 61.3 %  613 MB of 1.00 GB  94.1 Mbit/s  ETA 32.9 s  3/12 files  rtt 80.4 ms  loss 4.9 %",
  );
});

test("what does not fit is left out from the end", () => {
  expect(progressLine(VIEW, 80)).toBe(
    "send  [###############---------] 61.3 %  613 MB of 1.00 GB  94.1 Mbit/s",
  );
  expect(progressLine(VIEW, 10)).toBe("send");
});

test("a pipe has no total; an empty tree is complete", () => {
  expect(progressLine({ ...VIEW, totalBytes: undefined, totalFiles: undefined }, 60)).toBe(
    "send  613 MB  94.1 Mbit/s  rtt 80.4 ms  loss 4.9 %",
  );
  expect(progressLine({ ...VIEW, totalBytes: 0, verifiedBytes: 0 }, 60)).toContain("100.0 %");
});
