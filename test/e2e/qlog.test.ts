/** `--qlog` through the built command line: every record against the rules of the drafts. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLinkRelay } from "../../src/node/link-relay.ts";
import { Scene } from "./godwit.ts";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
});

afterEach(() => scene.close());

type Fields = Record<string, unknown>;
type Rule = (value: unknown) => boolean;

const isCount: Rule = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isNumber: Rule = (value) => Number.isFinite(value);
const isText: Rule = (value) => typeof value === "string";
const oneOf =
  (...allowed: readonly string[]): Rule =>
  (value) =>
    allowed.includes(value as string);
/** An object with these fields; names that end in `?` may be missing, no others may be there. */
const shape =
  (rules: Readonly<Record<string, Rule>>): Rule =>
  (value) => {
    const fields = value as Fields;
    const known = Object.entries(rules).map(([name, rule]) => ({
      name: name.replace("?", ""),
      rule,
      name0: name,
    }));
    return (
      typeof value === "object" &&
      known.every(({ name, rule, name0 }) =>
        fields[name] === undefined ? name0.endsWith("?") : rule(fields[name]),
      ) &&
      Object.keys(fields).every((name) => known.some((one) => one.name === name))
    );
  };
const listOf =
  (rule: Rule): Rule =>
  (value) =>
    Array.isArray(value) && value.length > 0 && value.every(rule);

const oneRtt = shape({ packet_type: oneOf("1RTT"), packet_number: isCount });
const numbered = shape({ packet_type: oneOf("initial", "handshake"), packet_number: isCount });
// The CDDL knows a packet number in no other packets.
const unnumbered = shape({ packet_type: oneOf("retry", "version_negotiation", "unknown") });
const header: Rule = (value) => oneRtt(value) || numbered(value) || unnumbered(value);
const ecnState = oneOf("testing", "unknown", "failed", "capable");
const raw = shape({ length: isCount });
const ack = shape({ frame_type: oneOf("ack"), ack_delay: isNumber, acked_ranges: listOf(listOf(isCount)) });
const endpoint = shape({ "ip_v4?": isText, "port_v4?": isCount, "ip_v6?": isText, "port_v6?": isCount });
const metrics = shape({
  "min_rtt?": isNumber,
  "smoothed_rtt?": isNumber,
  "latest_rtt?": isNumber,
  "rtt_variance?": isNumber,
  "pto_count?": isCount,
  "congestion_window?": isCount,
  "bytes_in_flight?": isCount,
  "pacing_rate?": isCount,
  // Ours: the draft lets recovery metrics carry more.
  "bandwidth?": isCount,
});

/** The `data` of each event, from the CDDL of quic-events-13 and main-schema-14. */
const RULES: Readonly<Record<string, Rule>> = {
  "quic:packet_sent": shape({ header, raw, "is_mtu_probe_packet?": (value) => value === true }),
  "quic:packet_received": shape({ header, raw, "frames?": listOf(ack) }),
  "quic:packet_dropped": shape({
    raw,
    details: (value) => typeof value === "object",
    trigger: oneOf("duplicate", "decryption_failure"),
  }),
  "quic:packet_lost": shape({
    header,
    trigger: oneOf("reordering_threshold", "time_threshold", "pto_expired"),
  }),
  "quic:recovery_metrics_updated": metrics,
  "recovery:metrics_updated": metrics,
  "quic:congestion_state_updated": shape({ "old?": isText, new: isText }),
  "quic:ecn_state_updated": shape({ "old?": ecnState, new: ecnState }),
  "quic:mtu_updated": shape({ "old?": isCount, new: isCount }),
  "quic:tuple_assigned": shape({ tuple_id: isText, tuple_remote: endpoint }),
  "quic:connection_state_updated": shape({
    new: oneOf("handshake_started", "handshake_complete", "handshake_confirmed"),
  }),
  "quic:key_updated": shape({
    key_type: oneOf("client_1rtt_secret", "server_1rtt_secret"),
    key_phase: isCount,
    trigger: oneOf("local_update", "remote_update"),
  }),
  "quic:connection_closed": shape({
    initiator: oneOf("local", "remote"),
    reason: isText,
    trigger: oneOf("idle_timeout", "application", "error", "version_mismatch"),
  }),
  "loglevel:info": shape({ message: isText }),
  "loglevel:warning": shape({ message: isText }),
};

/** Reads a log, with every rule checked. */
function readLog(path: string): { head: Fields; events: { time: number; name: string; data: Fields }[] } {
  const text = readFileSync(path, "utf8");
  expect(text.startsWith("\u001e")).toBe(true);
  const records = text.slice(1).split("\u001e");
  for (const record of records) expect(record.endsWith("\n")).toBe(true);
  const [head, ...events] = records.map((record) => JSON.parse(record) as Fields);
  expect(text.slice(0, 256)).toContain('"serialization_format":"application/qlog+json-seq"');
  expect(head["file_schema"]).toBe("urn:ietf:params:qlog:file:sequential");
  let last = 0;
  for (const event of events) {
    const { time, name, data } = event as { time: number; name: string; data: Fields };
    expect(Object.keys(event).filter((key) => !["time", "name", "category", "data"].includes(key))).toEqual(
      [],
    );
    expect(time).toBeGreaterThanOrEqual(last);
    last = time;
    const isValid = RULES[name]?.(data) ?? false;
    expect(isValid ? "valid" : event).toBe("valid");
  }
  return { head, events: events as { time: number; name: string; data: Fields }[] };
}

async function transfer(serverLogs: string, clientLogs: string, bytes: number): Promise<void> {
  writeFileSync(scene.path("file.bin"), randomBytes(bytes));
  const server = await scene.serve("server", "inbox", ["--open", "--once", "--qlog", serverLogs]);
  const args = ["send", "file.bin", "--to", server.at, "--accept-new", "--qlog", clientLogs];
  const client = await scene.run("client", args);
  expect(client.stderr + String(client.status)).toMatch(/0$/);
  const ended = await server.ended;
  expect(ended.status).toBe(0);
}

describe("--qlog", () => {
  test("both sides write a log of the connection that keeps to the drafts", async () => {
    await transfer(scene.path("logs"), scene.path("logs"), 400_000);
    const names = readdirSync(scene.path("logs"));
    expect(names).toHaveLength(2);
    const logs = ["client", "server"].map((role) => {
      const name = names.find((one) => one.endsWith(`_${role}.sqlog`));
      expect(name).toMatch(/^\d{8}T\d{6}Z-[0-9a-f]{16}_/);
      return readLog(join(scene.path("logs"), name ?? ""));
    });
    const trace = logs.map(({ head }) => head["trace"] as Fields);
    expect((trace[0]["vantage_point"] as Fields)["type"]).toBe("client");
    expect((trace[1]["vantage_point"] as Fields)["type"]).toBe("server");
    expect((trace[0]["common_fields"] as Fields)["group_id"]).toBe(
      (trace[1]["common_fields"] as Fields)["group_id"],
    );
    const sent = logs[0].events.filter(({ name }) => name === "quic:packet_sent");
    const sizes = sent.map(({ data }) => (data["raw"] as Fields)["length"] as number);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(400_000);
    const acks = logs[0].events.filter(({ data }) => data["frames"] !== undefined);
    expect(acks.length).toBeGreaterThan(0);
    // INIT, REPLY, FINISH, as both sides saw them. A side that was kept waiting may have said something twice.
    const handshakes = logs.map(({ events }) => {
      const seen = events
        .map(({ name, data }) => `${name} ${String((data["header"] as Fields | undefined)?.["packet_type"])}`)
        .filter((text) => /initial|handshake$/.test(text));
      return [...new Set(seen)];
    });
    const packets = ["initial", "handshake", "handshake"];
    const verbs = ["sent", "received", "sent"];
    const wanted = (swapped: boolean): string[] =>
      packets.map(
        (type, i) => `quic:packet_${(verbs[i] === "sent") === swapped ? "received" : "sent"} ${type}`,
      );
    expect(handshakes).toEqual([wanted(false), wanted(true)]);
    for (const { events } of logs) {
      expect(events.at(-1)?.name).toBe("quic:connection_closed");
      expect(events.some(({ name }) => name === "recovery:metrics_updated")).toBe(true);
    }
  });

  test("a packet has the time it was sent at, not that of the next event", async () => {
    const server = await scene.serve("server", "inbox", ["--open"]);
    const slow = { delayUs: 60_000 };
    const relay = await openLinkRelay({
      listen: { host: "127.0.0.1", port: 0 },
      target: { host: "127.0.0.1", port: server.port },
      up: slow,
      down: slow,
      seed: 1,
    });
    const logs = scene.path("logs");
    const at = `127.0.0.1:${relay.port}`;
    expect(
      (await scene.run("client", ["ping", at, "--count", "1", "--accept-new", "--qlog", logs])).status,
    ).toBe(0);
    await relay.close();
    const { events } = readLog(join(logs, readdirSync(logs)[0] ?? ""));
    const timeOf = (verb: string, type: string): number =>
      events.find(
        ({ name, data }) =>
          name === `quic:packet_${verb}` && (data["header"] as Fields)["packet_type"] === type,
      )?.time ?? Number.NaN;
    // INIT and REPLY each took 60 ms; a millisecond is left to the relay's clock.
    expect(timeOf("received", "handshake") - timeOf("sent", "initial")).toBeGreaterThan(119);
  });

  test("a log that cannot be written is told once and disturbs nothing", async () => {
    writeFileSync(scene.path("file.bin"), randomBytes(400_000));
    const server = await scene.serve("server", "inbox", ["--open", "--once", "--qlog", scene.path("logs")]);
    rmSync(scene.path("logs"), { recursive: true });
    const client = await scene.run("client", ["send", "file.bin", "--to", server.at, "--accept-new"]);
    expect(client.status).toBe(0);
    const { status, events } = await server.ended;
    expect(status).toBe(0);
    expect(events.filter(({ event }) => event === "log-stopped")).toHaveLength(1);
    expect(readFileSync(scene.path("inbox", "file.bin")).length).toBe(400_000);
  });

  test("a directory that cannot be made ends the command before it begins", async () => {
    writeFileSync(scene.path("taken"), "");
    const ended = await scene.run("client", [
      "ping",
      "127.0.0.1:9",
      "--accept-new",
      "--qlog",
      scene.path("taken", "logs"),
    ]);
    expect(ended.status).toBe(2);
    expect(ended.stderr).toContain("qlog directory");
  });
});
