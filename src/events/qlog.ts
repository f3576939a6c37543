/**
 * The event stream of one connection as qlog: JSON text sequences (RFC 7464), one record an event.
 *
 * Names and fields are those of draft-ietf-quic-qlog-main-schema-14 and
 * draft-ietf-quic-qlog-quic-events-13. The viewer qvis reads the older version 0.3 only; what it needs
 * stands beside: `qlog_version` and `qlog_format` in the header, `category` in each event, and
 * `recovery:metrics_updated` after each `quic:recovery_metrics_updated`. The drafts let tools skip these.
 */
import type { GodwitEvent } from "./event.ts";

/** What the header of a log says. */
export interface QlogHeader {
  readonly role: "client" | "server";
  /** The program that wrote the log, such as `godwit/1.0.0`. */
  readonly agent: string;
  /** Names the connection; the same on both sides. Hexadecimal. */
  readonly connectionId: string;
}

type Data = Readonly<Record<string, unknown>>;

/** main-schema §"qlog to JSON Text Sequences mapping": each record begins with this and ends with a line feed. */
const RECORD_SEPARATOR = "\u001e";

/** The categories of qlog 0.3, which qvis sorts events by. */
type Category = "connectivity" | "transport" | "security" | "recovery" | "info" | "warning";

/** The first record of a log. */
export function qlogHeader({ role, agent, connectionId }: QlogHeader): string {
  return record({
    file_schema: "urn:ietf:params:qlog:file:sequential",
    serialization_format: "application/qlog+json-seq",
    qlog_version: "0.3",
    qlog_format: "JSON-SEQ",
    title: `godwit ${role} ${connectionId}`,
    trace: {
      common_fields: {
        group_id: connectionId,
        time_format: "relative_to_epoch",
        reference_time: { clock_type: "system", epoch: "1970-01-01T00:00:00.000Z" },
      },
      vantage_point: { name: agent, type: role },
      event_schemas: ["urn:ietf:params:qlog:events:quic-13", "urn:ietf:params:qlog:events:loglevel"],
    },
  });
}

/** A record that says in words what happened. `timeMs` as for `QlogFormatter.records`. */
export function qlogWarning(message: string, timeMs: number): string {
  return line("loglevel:warning", "warning", { message }, timeMs);
}

/** Turns events into records. It remembers what the next event needs to be complete. */
export class QlogFormatter {
  private readonly role: "client" | "server";
  private datagramBytes: number | undefined;
  private ptoCount = 0;
  /** Handshake packets so far, by direction and type. */
  private readonly handshakePackets = new Map<string, number>();
  private received:
    | { readonly number: number; readonly sizeBytes: number; readonly timeMs: number }
    | undefined;

  constructor(role: "client" | "server") {
    this.role = role;
  }

  /**
   * The records for an event, `""` for none.
   *
   * @param timeMs - Milliseconds since 1970, with fractions.
   */
  records(event: GodwitEvent, timeMs: number): string {
    // A received packet waits for the ACK in it, which is told right behind.
    const acked = event.type === "ack-received" ? event : undefined;
    const before = this.takeReceived(acked?.ranges, acked?.delayUs);
    return before + (acked === undefined ? this.format(event, timeMs) : "");
  }

  /** The record that was held back for the sake of the next event, `""` for none. */
  flush(): string {
    return this.takeReceived(undefined, undefined);
  }

  private takeReceived(
    ranges: readonly (readonly [number, number])[] | undefined,
    delayUs: number | undefined,
  ): string {
    const { received } = this;
    if (received === undefined) return "";
    this.received = undefined;
    const frame = {
      frame_type: "ack",
      ack_delay: (delayUs ?? 0) / 1_000,
      acked_ranges: ranges?.map(([from, to]) => (from === to ? [from] : [from, to])),
    };
    return line(
      "quic:packet_received",
      "transport",
      {
        header: oneRtt(received.number),
        ...(ranges === undefined ? {} : { frames: [frame] }),
        raw: { length: received.sizeBytes },
      },
      received.timeMs,
    );
  }

  private format(event: GodwitEvent, timeMs: number): string {
    switch (event.type) {
      case "packet-received":
        this.received = { number: event.number, sizeBytes: event.sizeBytes, timeMs };
        return "";
      case "packet-sent": {
        const probe = event.isProbe ? { is_mtu_probe_packet: true } : {};
        const data = { header: oneRtt(event.number), raw: { length: event.sizeBytes }, ...probe };
        return line("quic:packet_sent", "transport", data, timeMs);
      }
      case "handshake-packet-sent":
        return this.formatHandshakePacket("quic:packet_sent", event, timeMs);
      case "handshake-packet-received":
        return this.formatHandshakePacket("quic:packet_received", event, timeMs);
      case "packet-dropped": {
        const trigger = event.trigger === "duplicate" ? "duplicate" : "decryption_failure";
        return line(
          "quic:packet_dropped",
          "transport",
          { raw: { length: event.sizeBytes }, details: { reason: event.trigger }, trigger },
          timeMs,
        );
      }
      case "packet-lost":
        return line(
          "quic:packet_lost",
          "recovery",
          { header: oneRtt(event.number), trigger: LOSS_TRIGGERS[event.trigger] },
          timeMs,
        );
      case "pto-fired":
        this.ptoCount = event.count;
        return metrics({ pto_count: event.count }, timeMs);
      case "recovery-updated":
        return this.formatRecovery(event, timeMs);
      case "congestion-state-changed":
        return line("quic:congestion_state_updated", "recovery", { old: event.from, new: event.to }, timeMs);
      case "ecn-state-changed":
        return line("quic:ecn_state_updated", "recovery", { old: event.from, new: event.to }, timeMs);
      case "path-mtu-changed": {
        const old = this.datagramBytes === undefined ? {} : { old: this.datagramBytes };
        this.datagramBytes = event.datagramBytes;
        return line("quic:mtu_updated", "connectivity", { ...old, new: event.datagramBytes }, timeMs);
      }
      case "path-changed":
        return line(
          "quic:tuple_assigned",
          "connectivity",
          { tuple_id: event.address, tuple_remote: endpointInfo(event.address) },
          timeMs,
        );
      case "key-updated":
        return this.formatKeys(event, timeMs);
      default:
        return this.formatState(event, timeMs);
    }
  }

  /** Our handshake packets under the names of QUIC's; they have no numbers, so they are counted. */
  private formatHandshakePacket(
    name: "quic:packet_sent" | "quic:packet_received",
    event: GodwitEvent & { type: "handshake-packet-sent" | "handshake-packet-received" },
    timeMs: number,
  ): string {
    const packetType = HANDSHAKE_PACKET_TYPES[event.packet];
    const isNumbered = packetType === "initial" || packetType === "handshake";
    const counted = `${name}/${packetType}`;
    const number = this.handshakePackets.get(counted) ?? 0;
    this.handshakePackets.set(counted, number + 1);
    const header = { packet_type: packetType, ...(isNumbered ? { packet_number: number } : {}) };
    return line(name, "transport", { header, raw: { length: event.sizeBytes } }, timeMs);
  }

  private formatRecovery(event: GodwitEvent & { type: "recovery-updated" }, timeMs: number): string {
    const pto = this.ptoCount === 0 ? {} : { pto_count: 0 };
    this.ptoCount = 0;
    const pacing = bitsPerSecond(event.pacingRateBytesPerSecond);
    const bandwidth = bitsPerSecond(event.bandwidthBytesPerSecond);
    const data = {
      min_rtt: event.minRttUs / 1_000,
      smoothed_rtt: event.smoothedRttUs / 1_000,
      latest_rtt: event.latestRttUs / 1_000,
      rtt_variance: event.rttVariationUs / 1_000,
      ...pto,
      congestion_window: Math.floor(event.congestionWindowBytes),
      bytes_in_flight: event.bytesInFlight,
      ...(pacing === undefined ? {} : { pacing_rate: pacing }),
      ...(bandwidth === undefined ? {} : { bandwidth }),
    };
    return metrics(data, timeMs);
  }

  private formatKeys(event: GodwitEvent & { type: "key-updated" }, timeMs: number): string {
    const trigger = event.initiatedBy === "local" ? "local_update" : "remote_update";
    const other = this.role === "client" ? "server" : "client";
    return [this.role, other]
      .map((side) =>
        line(
          "quic:key_updated",
          "security",
          { key_type: `${side}_1rtt_secret`, key_phase: event.phase, trigger },
          timeMs,
        ),
      )
      .join("");
  }

  private formatState(event: GodwitEvent, timeMs: number): string {
    const state = (to: string): string =>
      line("quic:connection_state_updated", "connectivity", { new: to }, timeMs);
    const info = (message: string): string => line("loglevel:info", "info", { message }, timeMs);
    switch (event.type) {
      case "handshake-started":
        return state("handshake_started");
      case "handshake-completed":
        return state("handshake_complete") + info(`the peer is ${event.peerAgent}, ${event.peerFingerprint}`);
      case "handshake-confirmed":
        return state("handshake_confirmed");
      case "connection-closed":
        return line(
          "quic:connection_closed",
          "connectivity",
          {
            initiator: event.initiatedBy === "local" ? "local" : "remote",
            reason: event.code === undefined ? event.reason : `${event.code}: ${event.reason}`,
            trigger: CLOSE_TRIGGERS[event.code ?? ""] ?? (event.code === undefined ? "application" : "error"),
          },
          timeMs,
        );
      case "loss-was-spurious":
        return info(`packet ${event.number} was declared lost and arrived after all`);
      case "persistent-congestion":
        return info("persistent congestion");
      case "path-validated":
        return info(`path to ${event.address} validated in ${(event.tookUs / 1_000).toFixed(1)} ms`);
      case "path-silent":
        return info(`no answer for ${(event.sinceUs / 1_000).toFixed(0)} ms`);
      case "path-returned":
        return info(`the path is back after ${(event.afterUs / 1_000).toFixed(0)} ms`);
      case "flow-window-changed":
        return info(`receive window ${event.windowBytes} bytes`);
      case "socket-degraded":
        return qlogWarning(`${event.feature} is off: ${event.reason}`, timeMs);
      case "file-restarted":
      case "file-failed":
      case "transfer-failed":
        return qlogWarning(
          `${event.type}: ${event.type === "file-restarted" ? event.reason : event.text}`,
          timeMs,
        );
      case "transfer-started":
        return info(`transfer started as ${event.role}`);
      case "transfer-completed":
        return info(`transfer completed: ${event.files} files, ${event.bytes} bytes`);
      default:
        return "";
    }
  }
}

const HANDSHAKE_PACKET_TYPES = {
  init: "initial",
  reply: "handshake",
  finish: "handshake",
  retry: "retry",
  versions: "version_negotiation",
  other: "unknown",
} as const;

const LOSS_TRIGGERS = {
  packets: "reordering_threshold",
  time: "time_threshold",
  pto: "pto_expired",
} as const;

const CLOSE_TRIGGERS: Readonly<Record<string, string>> = {
  PEER_GONE: "idle_timeout",
  UNREACHABLE: "idle_timeout",
  HANDSHAKE_TIMEOUT: "idle_timeout",
  VERSION_MISMATCH: "version_mismatch",
  INTERRUPTED: "application",
};

/** A rate in bits per second as qlog has it, or `undefined` for one that has no number yet. */
function bitsPerSecond(bytesPerSecond: number): number | undefined {
  return Number.isFinite(bytesPerSecond) ? Math.round(bytesPerSecond * 8) : undefined;
}

function oneRtt(packetNumber: number): Data {
  return { packet_type: "1RTT", packet_number: packetNumber };
}

function endpointInfo(address: string): Data {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replaceAll(/[[\]]/g, "");
  const port = Number(address.slice(at + 1));
  return host.includes(":") ? { ip_v6: host, port_v6: port } : { ip_v4: host, port_v4: port };
}

function metrics(data: Data, timeMs: number): string {
  return (
    line("quic:recovery_metrics_updated", "recovery", data, timeMs) +
    record({ time: shownTime(timeMs), name: "recovery:metrics_updated", data })
  );
}

function line(name: string, category: Category, data: Data, timeMs: number): string {
  return record({ time: shownTime(timeMs), name, category, data });
}

/** To the microsecond. */
function shownTime(timeMs: number): number {
  return Math.round(timeMs * 1_000) / 1_000;
}

function record(value: Data): string {
  return `${RECORD_SEPARATOR}${JSON.stringify(value)}\n`;
}
