/**
 * The table of observable facts: the one stream that progress bar, JSON lines, qlog, report,
 * dashboard and tests read. Events are past tense, fields carry their unit in the name.
 */
import type { ErrorCode } from "../base/errors.ts";

/** Packets of a handshake; `other`: those of pairing, and what cannot be told. */
export type HandshakePacketName = "init" | "reply" | "finish" | "retry" | "versions" | "other";

/** Facts about one connection. Packet events are made only when somebody asked for them. */
export type TransportEvent =
  | { readonly type: "handshake-started"; readonly role: "initiator" | "responder"; readonly version: number }
  | {
      readonly type: "handshake-completed";
      readonly peerFingerprint: string;
      readonly peerAgent: string;
      readonly version: number;
      readonly tookUs: number;
    }
  | { readonly type: "handshake-confirmed" }
  /** A packet of the handshake, by its name in docs/spec/handshake.md. */
  | {
      readonly type: "handshake-packet-sent" | "handshake-packet-received";
      readonly packet: HandshakePacketName;
      readonly sizeBytes: number;
    }
  | {
      readonly type: "packet-sent";
      readonly number: number;
      readonly sizeBytes: number;
      readonly isAckEliciting: boolean;
      readonly isProbe: boolean;
    }
  | { readonly type: "packet-received"; readonly number: number; readonly sizeBytes: number }
  /** Told right behind the packet that carried it. Ranges are inclusive, newest first. */
  | {
      readonly type: "ack-received";
      readonly delayUs: number;
      readonly ranges: readonly (readonly [number, number])[];
    }
  | { readonly type: "packet-dropped"; readonly sizeBytes: number; readonly trigger: string }
  | {
      readonly type: "packet-lost";
      readonly number: number;
      readonly sizeBytes: number;
      readonly trigger: "packets" | "time" | "pto";
    }
  | { readonly type: "loss-was-spurious"; readonly number: number; readonly sizeBytes: number }
  | { readonly type: "pto-fired"; readonly count: number }
  | {
      readonly type: "recovery-updated";
      readonly smoothedRttUs: number;
      readonly minRttUs: number;
      readonly latestRttUs: number;
      readonly rttVariationUs: number;
      readonly congestionWindowBytes: number;
      readonly bytesInFlight: number;
      readonly pacingRateBytesPerSecond: number;
      readonly bandwidthBytesPerSecond: number;
    }
  | {
      readonly type: "congestion-state-changed";
      readonly controller: string;
      readonly from: string;
      readonly to: string;
    }
  | { readonly type: "persistent-congestion" }
  | { readonly type: "ecn-state-changed"; readonly from: string; readonly to: string }
  | {
      readonly type: "path-mtu-changed";
      readonly datagramBytes: number;
      readonly reason: "probe" | "black-hole" | "start";
    }
  | { readonly type: "path-changed"; readonly isValidated: boolean; readonly address: string }
  | { readonly type: "path-validated"; readonly address: string; readonly tookUs: number }
  | { readonly type: "key-updated"; readonly phase: number; readonly initiatedBy: "local" | "peer" }
  | { readonly type: "flow-window-changed"; readonly windowBytes: number }
  | { readonly type: "heartbeat"; readonly rttUs: number }
  | { readonly type: "path-silent"; readonly sinceUs: number }
  | { readonly type: "path-returned"; readonly afterUs: number }
  | { readonly type: "socket-degraded"; readonly feature: string; readonly reason: string }
  /** The log that was asked for is not complete; the transfer goes on. */
  | { readonly type: "log-stopped"; readonly reason: string }
  | {
      readonly type: "connection-closed";
      readonly code: ErrorCode | undefined;
      readonly reason: string;
      readonly initiatedBy: "local" | "peer";
    };

/** Facts about one transfer. */
export type TransferEvent =
  | {
      readonly type: "transfer-started";
      readonly role: "sender" | "receiver";
      readonly peerFingerprint: string;
      readonly peerAddress: string;
    }
  /** The receiver has verified part of a file, or all of it (`isWhole`), from an earlier attempt. */
  | {
      readonly type: "transfer-resumed";
      readonly path: string;
      readonly haveBytes: number;
      readonly totalBytes: number;
      readonly isWhole: boolean;
    }
  | {
      readonly type: "manifest-completed";
      readonly files: number;
      readonly directories: number;
      readonly links: number;
      readonly totalBytes: number;
    }
  /** State of an earlier run exists but is not used: another version wrote it, or it is damaged. */
  | { readonly type: "state-ignored"; readonly reason: string }
  /** A dry run: what would be done. */
  | {
      readonly type: "file-planned";
      readonly path: string;
      readonly sizeBytes: number | undefined;
      readonly replaces: boolean;
    }
  | { readonly type: "file-started"; readonly path: string; readonly sizeBytes: number | undefined }
  | { readonly type: "file-restarted"; readonly path: string; readonly reason: string }
  | {
      readonly type: "chunk-verified";
      readonly path: string;
      readonly offset: number;
      readonly lengthBytes: number;
    }
  | {
      readonly type: "chunk-refetched";
      readonly path: string;
      readonly offset: number;
      readonly reason: string;
    }
  /** Peer re-serve: what came from other receivers so far, and how many of them are connected. */
  | { readonly type: "relay-progress"; readonly relayedBytes: number; readonly helpers: number }
  /** Peer re-serve: another receiver is asked no more. `helper` is its fingerprint. */
  | {
      readonly type: "relay-helper-dropped";
      readonly helper: string;
      readonly reason: "lied" | "stalled" | "lost" | "unreachable";
    }
  | {
      readonly type: "file-verified";
      readonly path: string;
      readonly sizeBytes: number;
      readonly root: string;
    }
  | {
      readonly type: "file-committed";
      readonly path: string;
      readonly sizeBytes: number;
      readonly root: string;
    }
  | { readonly type: "file-skipped"; readonly path: string; readonly reason: string }
  | { readonly type: "file-failed"; readonly path: string; readonly code: ErrorCode; readonly text: string }
  | {
      readonly type: "progress";
      readonly verifiedBytes: number;
      readonly committedFiles: number;
      readonly totalBytes: number | undefined;
      readonly totalFiles: number | undefined;
      readonly resumedBytes: number;
    }
  | {
      readonly type: "transfer-completed";
      readonly files: number;
      readonly bytes: number;
      readonly failedFiles: number;
      readonly root: string;
    }
  | { readonly type: "transfer-failed"; readonly code: ErrorCode; readonly text: string };

/** Any observable fact. */
export type GodwitEvent = TransportEvent | TransferEvent;
