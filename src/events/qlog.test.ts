import { describe, expect, test } from "vitest";
import type { GodwitEvent } from "./event.ts";
import { QlogFormatter, qlogHeader, qlogWarning } from "./qlog.ts";

// Expected lines are written by hand from draft-ietf-quic-qlog-main-schema-14 and
// draft-ietf-quic-qlog-quic-events-13, and from what qvis looks for.

function written(...events: readonly GodwitEvent[]): string {
  const formatter = new QlogFormatter("client");
  return events.map((event) => formatter.records(event, 1_000.5)).join("") + formatter.flush();
}

describe("qlog", () => {
  test("begins with a header whose schema and format stand in the first 256 characters", () => {
    const header = qlogHeader({ role: "server", agent: "godwit/1.0", connectionId: "00ff" });
    expect(header).toBe(
      `\u001e{"file_schema":"urn:ietf:params:qlog:file:sequential",` +
        `"serialization_format":"application/qlog+json-seq","qlog_version":"0.3","qlog_format":"JSON-SEQ",` +
        `"title":"godwit server 00ff","trace":{"common_fields":{"group_id":"00ff",` +
        `"time_format":"relative_to_epoch","reference_time":{"clock_type":"system","epoch":"1970-01-01T00:00:00.000Z"}},` +
        `"vantage_point":{"name":"godwit/1.0","type":"server"},` +
        `"event_schemas":["urn:ietf:params:qlog:events:quic-13","urn:ietf:params:qlog:events:loglevel"]}}\n`,
    );
  });

  test("packets sent and lost", () => {
    expect(
      written(
        { type: "packet-sent", number: 7, sizeBytes: 1_200, isAckEliciting: true, isProbe: false },
        { type: "packet-sent", number: 8, sizeBytes: 1_400, isAckEliciting: true, isProbe: true },
        { type: "packet-lost", number: 7, sizeBytes: 1_200, trigger: "packets" },
        { type: "packet-lost", number: 8, sizeBytes: 1_400, trigger: "time" },
      ),
    ).toBe(
      `\u001e{"time":1000.5,"name":"quic:packet_sent","category":"transport","data":{"header":{"packet_type":"1RTT","packet_number":7},"raw":{"length":1200}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_sent","category":"transport","data":{"header":{"packet_type":"1RTT","packet_number":8},"raw":{"length":1400},"is_mtu_probe_packet":true}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_lost","category":"recovery","data":{"header":{"packet_type":"1RTT","packet_number":7},"trigger":"reordering_threshold"}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_lost","category":"recovery","data":{"header":{"packet_type":"1RTT","packet_number":8},"trigger":"time_threshold"}}\n`,
    );
  });

  test("handshake packets under QUIC's names, counted where QUIC has numbers", () => {
    expect(
      written(
        { type: "handshake-packet-sent", packet: "init", sizeBytes: 1_200 },
        { type: "handshake-packet-received", packet: "retry", sizeBytes: 60 },
        { type: "handshake-packet-sent", packet: "init", sizeBytes: 1_200 },
        { type: "handshake-packet-received", packet: "reply", sizeBytes: 290 },
        { type: "handshake-packet-sent", packet: "finish", sizeBytes: 250 },
      ),
    ).toBe(
      `\u001e{"time":1000.5,"name":"quic:packet_sent","category":"transport","data":{"header":{"packet_type":"initial","packet_number":0},"raw":{"length":1200}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_received","category":"transport","data":{"header":{"packet_type":"retry"},"raw":{"length":60}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_sent","category":"transport","data":{"header":{"packet_type":"initial","packet_number":1},"raw":{"length":1200}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_received","category":"transport","data":{"header":{"packet_type":"handshake","packet_number":0},"raw":{"length":290}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_sent","category":"transport","data":{"header":{"packet_type":"handshake","packet_number":0},"raw":{"length":250}}}\n`,
    );
  });

  test("a received packet carries its ACK, and only its own", () => {
    expect(
      written(
        { type: "packet-received", number: 1, sizeBytes: 40 },
        {
          type: "ack-received",
          delayUs: 1_500,
          ranges: [
            [5, 9],
            [3, 3],
          ],
        },
        { type: "packet-received", number: 2, sizeBytes: 41 },
        { type: "packet-received", number: 3, sizeBytes: 42 },
      ),
    ).toBe(
      `\u001e{"time":1000.5,"name":"quic:packet_received","category":"transport","data":{"header":{"packet_type":"1RTT","packet_number":1},"frames":[{"frame_type":"ack","ack_delay":1.5,"acked_ranges":[[5,9],[3]]}],"raw":{"length":40}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_received","category":"transport","data":{"header":{"packet_type":"1RTT","packet_number":2},"raw":{"length":41}}}\n` +
        `\u001e{"time":1000.5,"name":"quic:packet_received","category":"transport","data":{"header":{"packet_type":"1RTT","packet_number":3},"raw":{"length":42}}}\n`,
    );
  });

  test("recovery: times in milliseconds, rates in bits, the same again under the name of version 0.3", () => {
    const update: GodwitEvent = {
      type: "recovery-updated",
      smoothedRttUs: 40_250,
      minRttUs: 40_000,
      latestRttUs: 41_000,
      rttVariationUs: 125,
      congestionWindowBytes: 14_720.5,
      bytesInFlight: 2_400,
      pacingRateBytesPerSecond: 1_250_000,
      bandwidthBytesPerSecond: Number.POSITIVE_INFINITY,
    };
    const data = `{"min_rtt":40,"smoothed_rtt":40.25,"latest_rtt":41,"rtt_variance":0.125,"congestion_window":14720,"bytes_in_flight":2400,"pacing_rate":10000000}`;
    expect(written(update)).toBe(
      `\u001e{"time":1000.5,"name":"quic:recovery_metrics_updated","category":"recovery","data":${data}}\n` +
        `\u001e{"time":1000.5,"name":"recovery:metrics_updated","data":${data}}\n`,
    );
  });

  test("the PTO count goes up with each timeout and back to 0 with the next measurement", () => {
    const update: GodwitEvent = {
      type: "recovery-updated",
      smoothedRttUs: 1_000,
      minRttUs: 1_000,
      latestRttUs: 1_000,
      rttVariationUs: 0,
      congestionWindowBytes: 1,
      bytesInFlight: 0,
      pacingRateBytesPerSecond: 1,
      bandwidthBytesPerSecond: 1,
    };
    const counts = written({ type: "pto-fired", count: 2 }, update, update).match(/"pto_count":\d/g);
    expect(counts).toEqual(['"pto_count":2', '"pto_count":2', '"pto_count":0', '"pto_count":0']);
  });

  test("states, sizes, keys, addresses and the end", () => {
    expect(
      written(
        { type: "congestion-state-changed", controller: "bbr", from: "startup", to: "drain" },
        { type: "path-mtu-changed", datagramBytes: 1_200, reason: "start" },
        { type: "path-mtu-changed", datagramBytes: 1_472, reason: "probe" },
        { type: "ecn-state-changed", from: "testing", to: "capable" },
        { type: "key-updated", phase: 3, initiatedBy: "peer" },
        { type: "path-changed", isValidated: true, address: "192.0.2.1:4639" },
        { type: "path-changed", isValidated: true, address: "[2001:db8::1]:4639" },
        { type: "packet-dropped", sizeBytes: 30, trigger: "not-authentic" },
        { type: "connection-closed", code: undefined, reason: "", initiatedBy: "peer" },
      )
        .split("\n")
        .map((line) => line.slice(line.indexOf('"name"'))),
    ).toEqual([
      `"name":"quic:congestion_state_updated","category":"recovery","data":{"old":"startup","new":"drain"}}`,
      `"name":"quic:mtu_updated","category":"connectivity","data":{"new":1200}}`,
      `"name":"quic:mtu_updated","category":"connectivity","data":{"old":1200,"new":1472}}`,
      `"name":"quic:ecn_state_updated","category":"recovery","data":{"old":"testing","new":"capable"}}`,
      `"name":"quic:key_updated","category":"security","data":{"key_type":"client_1rtt_secret","key_phase":3,"trigger":"remote_update"}}`,
      `"name":"quic:key_updated","category":"security","data":{"key_type":"server_1rtt_secret","key_phase":3,"trigger":"remote_update"}}`,
      `"name":"quic:tuple_assigned","category":"connectivity","data":{"tuple_id":"192.0.2.1:4639","tuple_remote":{"ip_v4":"192.0.2.1","port_v4":4639}}}`,
      `"name":"quic:tuple_assigned","category":"connectivity","data":{"tuple_id":"[2001:db8::1]:4639","tuple_remote":{"ip_v6":"2001:db8::1","port_v6":4639}}}`,
      `"name":"quic:packet_dropped","category":"transport","data":{"raw":{"length":30},"details":{"reason":"not-authentic"},"trigger":"decryption_failure"}}`,
      `"name":"quic:connection_closed","category":"connectivity","data":{"initiator":"remote","reason":"","trigger":"application"}}`,
      "",
    ]);
  });

  test("what a peer says cannot break a record", () => {
    const record = qlogWarning('a"b\u001e\nc', 1);
    expect(record.lastIndexOf("\u001e")).toBe(0);
    expect(record.indexOf("\n")).toBe(record.length - 1);
    expect(JSON.parse(record.slice(1))).toEqual({
      time: 1,
      name: "loglevel:warning",
      category: "warning",
      data: { message: 'a"b\u001e\nc' },
    });
  });
});
