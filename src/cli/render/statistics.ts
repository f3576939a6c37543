/** `--stats`: the path of a transfer explained, a fact a line. */
import type { PathReport, RateLimit } from "../../api/path-report.ts";
import { counted, formatBytes, formatDuration, formatRate } from "../../base/units.ts";

const BARS = "▁▂▃▄▅▆▇█";

/** Columns of a curve. */
const COLUMNS = 32;

/** What a limit means, and what would help. */
const EXPLANATIONS: Readonly<Record<RateLimit, string>> = {
  path: "the path carried no more",
  "rate cap": "--rate",
  "receiver window": "the receiver's memory: a round trip holds more than it grants",
  "receiver disk": "the receiver's disk: what arrived waited to be written",
  "sender disk": "the sender's disk: packets waited for it",
  CPU: "this machine's processor: the program was never idle",
  "small transfer": "too little to send to fill the path",
  handshake: "most of the time went into the handshake",
  "other side": "this side only received; --stats on the other one tells",
};

/** A curve of at most 32 bars from 0 to the largest value; values are averaged to fit. `""` for none. */
export function curve(values: readonly number[]): string {
  const finite = values.filter((value) => Number.isFinite(value));
  const columns = Math.min(COLUMNS, finite.length);
  const means = Array.from({ length: columns }, (_, i) => {
    const part = finite.slice(
      Math.floor((i * finite.length) / columns),
      Math.floor(((i + 1) * finite.length) / columns),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const top = Math.max(...means, 0);
  return means
    .map((value) => BARS[top === 0 ? 0 : Math.min(Math.floor((value / top) * BARS.length), BARS.length - 1)])
    .join("");
}

function ms(us: number): string {
  return `${(us / 1_000).toFixed(us < 10_000 ? 2 : 1)} ms`;
}

function curveLine(name: string, values: readonly number[], shown: (value: number) => string): string[] {
  const finite = values.filter((value) => Number.isFinite(value));
  if (finite.length < 2) return [];
  return [`  ${name} ${curve(finite)}  ${shown(Math.min(...finite))} to ${shown(Math.max(...finite))}`];
}

/** The path explained. */
export function statisticsLines(path: PathReport): string[] {
  const totalUs = Object.values(path.limitedUs).reduce((sum, us) => sum + us, 0);
  const shares = Object.entries(path.limitedUs)
    .map(([limit, us]) => ({ limit, percent: Math.round((100 * us) / Math.max(totalUs, 1)) }))
    .filter(({ percent }) => percent > 0)
    .toSorted((a, b) => b.percent - a.percent)
    .map(({ limit, percent }) => `${limit} ${percent} %`);
  const { history } = path;
  const spurious = counted(path.spuriousPackets, "packet");
  const reordered =
    path.reorderedPackets === 0
      ? "none received out of order"
      : `${path.reorderedPackets} received out of order, by ${path.largestReordering} at most`;
  return [
    `  round trip  ${ms(path.minRttUs)} at least, ${ms(path.smoothedRttUs)} smoothed, ±${ms(path.rttVariationUs)}`,
    `  loss        ${(100 * path.lossFraction).toFixed(2)} % of ${counted(path.packetsSent, "packet")}, ${spurious} declared lost too early, ${counted(path.probeTimeouts, "timeout")}; ${reordered}`,
    `  marks       ${path.ecn === "capable" ? `${counted(path.markedPackets, "packet")} marked as congested (ECN)` : "the path carries no ECN marks, or was not asked long enough"}`,
    `  sent        ${formatBytes(path.wireBytes)}, ${formatBytes(path.retransmittedBytes)} of it again (${(100 * path.retransmittedFraction).toFixed(2)} %)`,
    `  datagrams   ${path.datagramBytes} B, ${counted(path.keyUpdates, "key update")}, ${counted(path.pathChanges, "path change")}`,
    `  controller  ${path.controller}: window ${formatBytes(path.congestionWindowBytes)}, pacing ${formatRate(path.pacingRateBytesPerSecond)}, bandwidth ${formatRate(path.bandwidthBytesPerSecond)}`,
    ...curveLine(
      "window     ",
      history.map((sample) => sample.congestionWindowBytes),
      formatBytes,
    ),
    ...curveLine(
      "pacing     ",
      // Nothing is paced before the first round trip is known.
      history.map((sample) => sample.pacingRateBytesPerSecond).filter((rate) => rate > 0),
      formatRate,
    ),
    ...curveLine(
      "round trip ",
      history.map((sample) => sample.smoothedRttUs),
      ms,
    ),
    `  time        ${formatDuration(totalUs)}: ${shares.join(", ")}; main thread busy ${(100 * path.busyFraction).toFixed(0)} %`,
    `  held by     ${path.limit}: ${EXPLANATIONS[path.limit]}`,
  ];
}
