/**
 * godwit: reliable, encrypted, verified file transfer over UDP.
 *
 * `send` and `get` return a running transfer: iterate it for events, await its `result`. `serve`
 * returns a server. Everything rejects with a `GodwitError`: test its `code` and `retryable`.
 */
export { send, type PushOptions, type SendOptions, type StreamSource } from "./api/send.ts";
export { sendToMany } from "./api/send-many.ts";
export type {
  GroupTransfer,
  GroupUpdate,
  ReceiverResult,
  RelayCounts,
  SendToManyOptions,
  SendToManyResult,
} from "./api/group-transfer.ts";
export type { ReceiverVerdict } from "./group/verdict.ts";
export { get, type GetOptions } from "./api/get.ts";
export { list, type Entry } from "./api/list.ts";
export type { ByteSink, ByteStream } from "./api/pipe.ts";
export { clean, type CleanedTransfer, type CleanOptions } from "./api/clean.ts";
export { ping, type PingOptions, type PingResult } from "./api/ping.ts";
export {
  serve,
  type ServedPeer,
  type ServedTransfer,
  type ServeOptions,
  type Server,
  type ServerUpdate,
} from "./api/serve.ts";
export { identity, type HomeOptions } from "./api/identity.ts";
export { forgetPeer, listPeers, trustPeer, type Peer, type TrustOptions } from "./api/peers.ts";
export type { Receipt } from "./api/receipt.ts";
export {
  verifyReceipt,
  type ReceiptDifference,
  type ReceiptVerdict,
  type VerifyReceiptOptions,
} from "./api/verify-receipt.ts";
export { UnknownPeerError } from "./api/dial.ts";
export type { ControllerName, DialOptions, NetworkOptions, TrustPolicy } from "./api/options.ts";
export type { PathSample } from "./api/path-history.ts";
export type { PathReport, RateLimit } from "./api/path-report.ts";
export type { PathMeasured, Transfer, TransferResult, TransferUpdate } from "./api/transfer.ts";
export type { GodwitEvent, TransferEvent, TransportEvent } from "./events/event.ts";
export { ERRORS, GodwitError, type ErrorCode, type ErrorSpec } from "./base/errors.ts";
