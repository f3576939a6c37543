/**
 * Every bound on what a peer can make this side hold or do, each with its reason.
 * The document behind the values is docs/spec/limits.md.
 */

/** Smallest datagram size every path must carry, in bytes of UDP payload. RFC 9000 §14. */
export const MIN_DATAGRAM_BYTES = 1_200;

/** Largest UDP payload over IPv4 (65 535 - 20 - 8). Nothing larger can arrive. */
export const MAX_DATAGRAM_BYTES = 65_507;

/** Half-open handshakes at a responder before it asks for cookies: enough for honest bursts. */
export const HALF_OPEN_BEFORE_COOKIES = 64;

/** Half-open handshakes at a responder altogether: beyond it new ones are dropped. */
export const HALF_OPEN_MAX = 1_024;

/** First datagram to authenticated peer, in microseconds. */
export const HANDSHAKE_DEADLINE_US = 10_000_000;

/** Handshake initiations per source address: sustained rate per second. */
export const INITIATIONS_PER_SECOND = 20;

/** Handshake initiations per source address: burst. */
export const INITIATIONS_BURST = 5;

/**
 * Handshake initiations per source address that showed a cookie: sustained rate per second. A handshake
 * costs the responder about a millisecond, so that one host takes a fifth of a core at most.
 */
export const VALIDATED_INITIATIONS_PER_SECOND = 200;

/** The same: burst. Everybody behind one address may come at once, as many as a process serves. */
export const VALIDATED_INITIATIONS_BURST = 200;

/** Bytes sent to an unvalidated address per byte received from it. RFC 9000 §8.1. */
export const AMPLIFICATION_FACTOR = 3;

/** Packets behind the largest received one that may still be accepted: a fast path reorders far. */
export const REPLAY_WINDOW_PACKETS = 65_536;

/** Ranges written into one ACK frame. */
export const ACK_RANGES_PER_FRAME = 64;

/** Received ranges remembered: beyond it the oldest are forgotten. */
export const ACK_RANGES_TRACKED = 4_096;

/** Gaps in one reassembly (stream or chunk) before the peer is cut off. */
export const REASSEMBLY_GAPS = 1_000;

/** Replies that a peer can force (path response, ping, key update) held at once; more are dropped. */
export const FORCED_REPLIES_PENDING = 256;

/** Streams a peer may have open at once: control needs a handful, each costs at most one stream window. */
export const STREAMS_PER_PEER = 64;

/** Receive window of one stream: holds control messages, not files. */
export const STREAM_WINDOW_BYTES = 256 * 1024;

/** Bytes the application may have waiting on one stream before a write is cut short. */
export const STREAM_SEND_BUFFER_BYTES = 256 * 1024;

/** Protected packets a responder holds until the handshake gave it the keys: the initiator's first flight. */
export const EARLY_PACKETS_HELD = 16;

/** CLOSE packets sent in reply to packets that arrive after closing. RFC 9000 §10.2.1. */
export const CLOSE_REPLIES = 16;

/** Bytes received and not yet consumed, per transfer, before the window is tuned. */
export const RECEIVE_MEMORY_BYTES = 16 * 1024 * 1024;

/** The cap of a receive window that grew with the bandwidth-delay product. */
export const RECEIVE_MEMORY_MAX_BYTES = 64 * 1024 * 1024;

/** Bytes received and not yet consumed, all transfers of one process together. */
export const RECEIVE_MEMORY_PROCESS_BYTES = 256 * 1024 * 1024;

/**
 * The part of it that each connection has for itself, before an even share of the rest: two chunks, so
 * that one can come in while another is written.
 */
export const RECEIVE_MEMORY_LEAST_BYTES = 512 * 1024;

/** Transfers at once for one peer key. */
export const TRANSFERS_PER_PEER = 8;

/** Transfers at once for one process. */
export const TRANSFERS_PER_PROCESS = 200;

/** Entries in one manifest. */
export const MANIFEST_ENTRIES = 1_000_000;

/** Bytes of one manifest on the wire. */
export const MANIFEST_BYTES = 256 * 1024 * 1024;

/** Components in one path. */
export const PATH_DEPTH = 128;

/** Bytes of one path component in UTF-8. */
export const NAME_BYTES = 255;

/** Bytes of one path in UTF-8. */
export const PATH_BYTES = 4_096;

/** Bytes of one control message. */
export const CONTROL_MESSAGE_BYTES = 64 * 1024;

/** Bytes of human text a peer may send (close reason, error text). */
export const PEER_TEXT_BYTES = 1_024;

/** Sessions a classic chunks server holds at once: each may own an open staging file. */
export const CLASSIC_SESSIONS = 64;

/** Bytes of one file a classic server accepts unless told otherwise. */
export const CLASSIC_FILE_BYTES = 16 * 1024 * 1024 * 1024;

/** Silence after which a connection is given up, in microseconds. */
export const IDLE_TIMEOUT_US = 60_000_000;

/** Time without progress after which a transfer is given up although its peer answers, in microseconds. */
export const SESSION_PATIENCE_US = 60_000_000;

/**
 * How long a side of a transfer may be busy by itself without progress, in microseconds: 12 hours, in
 * which a disk of 8 TB is read once at 200 MB/s.
 */
export const WORKING_MAX_US = 43_200_000_000;

/** How long a peer that asks for no transfer may stay, in microseconds: an hour of heartbeats. */
export const REQUEST_WAIT_US = 3_600_000_000;

/** How long the state of an interrupted transfer is kept, in seconds. */
export const RESUME_STATE_SECONDS = 7 * 24 * 3_600;

/** Packets sealed under one key before an update is begun: far below 2^23. RFC 9001 §6.6, B.1.1. */
export const KEY_UPDATE_PACKETS = 1_048_576;

/** Packets that may be sealed under one key at all (contract: well before 2^22). */
export const AEAD_CONFIDENTIALITY_PACKETS = 4_194_304;

/** Packets that may fail to open before the connection closes (AES-GCM: 2^52; kept far lower). RFC 9001 §6.6. */
export const AEAD_INTEGRITY_PACKETS = 68_719_476_736;

/** Bytes of one chunk, the unit of verification and resume; the last chunk of a file may be shorter. */
export const CHUNK_BYTES = 256 * 1024;

/** Bytes of a cookie in a RETRY or INIT: ours take 20, the rest is room for a later version. */
export const TOKEN_BYTES = 64;

/** Bytes of a handshake payload: what fits the smallest datagram with its header, so none is fragmented. */
export const HANDSHAKE_PAYLOAD_BYTES = MIN_DATAGRAM_BYTES - 24;

/** How long a cookie is good for, in microseconds: many round trips, few replays. */
export const COOKIE_LIFETIME_US = 10_000_000;

/** RETRY packets an initiator obeys in one handshake: an expired cookie or two, never a loop. */
export const RETRIES_PER_HANDSHAKE = 4;

/** Source addresses whose initiations are counted at once; beyond it the oldest is forgotten. */
export const INITIATION_SOURCES = 4_096;

/** Transport parameters in one handshake, unknown ones included. */
export const TRANSPORT_PARAMETERS = 64;

/** Versions in one list: offered in a handshake or told in a VERSIONS packet. */
export const VERSIONS_LISTED = 32;

/** Bytes of a peer's agent string. */
export const AGENT_BYTES = 64;

/** Connection ids of a peer that are kept for use at once. RFC 9000 §18.2 asks for at least 2. */
export const CONNECTION_IDS_KEPT = 8;
/**
 * Sent packets remembered per path: five times what 1 Gbit/s keeps in flight over 600 ms in packets of
 * 1 452 bytes, about 14 MiB; a peer that withholds acknowledgements gets no more.
 */
export const SENT_PACKETS_TRACKED = 262_144;

/** Silence on a classic TCP transfer after which it is given up, in microseconds: as for every other transfer. */
export const CLASSIC_STREAM_IDLE_US = IDLE_TIMEOUT_US;

/** Clients a classic TCP server serves at once; more are turned away. The original queues three. */
export const CLASSIC_STREAM_CONNECTIONS = 32;

/** How long a classic server that serves one client waits for it, in microseconds: time to walk to the other machine. */
export const CLASSIC_FIRST_CLIENT_US = 60_000_000;

/**
 * Silence of a classic client that ends its session, in microseconds. The originals end after 2 s or
 * 3 s, which four lost datagrams reach; 10 s is twenty tries of their clients.
 */
export const CLASSIC_SESSION_IDLE_US = 10_000_000;

/** Input a classic client reads from a pipe into memory before it sends: 256 MiB. */
export const CLASSIC_INPUT_BYTES = 256 * 1024 * 1024;

/** Entries offered and not yet finished: enough for 2 000 small files/s over a second's round trip. */
export const ENTRIES_AHEAD = 4_096;

/** Entries of a list that is not complete after which its sender counts the rest ahead, so that space can be checked. */
export const ENTRIES_BEFORE_TOTALS = 1_000;

/**
 * Bytes of control messages taken before a transfer is ready for them (its directory opens, an earlier
 * attempt gives way): as many entries as may be open, with names of 2 KiB.
 */
export const EARLY_CONTROL_BYTES = ENTRIES_AHEAD * 2_048;

/**
 * Answers waiting for a peer that does not read them: one of the longest refusals for each open entry,
 * and as much again for what is sent beside them.
 */
export const CONTROL_BACKLOG_BYTES = 2 * ENTRIES_AHEAD * 2_048;

/** Chunk hashes in one control message: 32 KiB, half of a message. */
export const HASHES_PER_MESSAGE = 1_024;

/** Subtrees in one ACCEPT: more holes than that and the smallest verified runs are fetched again. */
export const SUBTREES_PER_ACCEPT = 1_024;

/** Ranges of chunks in one REFETCH. */
export const REFETCH_RANGES = 256;

/** Paths of one pull or list request. */
export const REQUEST_PATHS = 1_024;

/** Include and exclude rules of one request. */
export const REQUEST_RULES = 256;

/** Bytes of one include or exclude rule. */
export const RULE_BYTES = 1_024;

/** Times one chunk is fetched before its file is given up as unverifiable. */
export const CHUNK_ATTEMPTS = 4;

/** Transfers a classic fetch server runs or remembers at once; requests beyond it are ignored. */
export const CLASSIC_FETCH_SESSIONS = 64;

/** Clients whose last answer a classic sum server remembers; the oldest is forgotten. */
export const CLASSIC_SUM_REMEMBERED = 64;

/** Pings a classic server answers per second: two such servers told to answer each other stay slow. */
export const CLASSIC_PING_REPLIES_PER_SECOND = 1_000;

/** Wrong guesses after which a pairing code is dead: a slip or two, never a search. */
export const PAIRING_GUESSES = 3;

/** How long a pairing code is good for, in microseconds: time to read it out and type it in. */
export const PAIRING_CODE_LIFETIME_US = 600_000_000;

/** Characters of a connection's log that wait for the disk: some seconds of packets; what is beyond is counted only. */
export const QLOG_PENDING_CHARACTERS = 4_194_304;

/** Pairing attempts held at once, each for at most the handshake's deadline. */
export const PAIRING_ATTEMPTS = 64;

/** Pairing attempts held at once for one source address, so that one host cannot take all places. */
export const PAIRING_ATTEMPTS_PER_SOURCE = 8;

/** Ranges of chunks in one message of peer re-serve. */
export const RELAY_RANGES = 256;

/** Other receivers of a transfer one receiver has a connection to: enough that any chunk is few steps away. */
export const RELAY_PEERS = 8;

/** Receivers one transfer may be introduced to, those that did not answer included. */
export const RELAY_INTRODUCTIONS = 32;

/** Transfers with peer re-serve one process takes part in at once; further ones get all from their sender. */
export const RELAY_TRANSFERS = 32;

/** Chunks asked of one helper and not there yet: two round trips of 50 ms at 60 Mbit/s. */
export const RELAY_ASKS = 3;

/** Memory for chunks that are being sent to other receivers, for one process. */
export const RELAY_SERVE_BYTES = 16 * 1024 * 1024;

/** Files of one transfer that can be served to others; what was finished the longest ago goes first. */
export const RELAY_OBJECTS = 65_536;

/** Ranges of chunks remembered of what one helper says it has; beyond it its word is not remembered. */
export const RELAY_HAVE_RANGES = 65_536;

/** Files of one transfer open for serving. */
export const RELAY_FILES_OPEN = 16;

/** Silence of a helper that was asked, after which it is asked no more, in microseconds: a burst of loss and its recovery. */
export const RELAY_STALL_US = 3_000_000;

/** Silence of the sender after which it is asked for chunks that no helper has, in microseconds. */
export const RELAY_QUIET_US = 1_000_000;

/** Silence of the sender after which it is asked for chunks that helpers have and do not give, in microseconds. */
export const RELAY_SLOW_US = 3_000_000;

/** Chunks asked of the sender, for want of a helper, and not there yet. */
export const RELAY_WANTS = 8;

/** How long a receiver that is complete waits for others to ask, in microseconds. */
export const RELAY_LINGER_US = 30_000_000;

/** Times the size of a transfer one helper sends to one other receiver at most: each chunk may go twice. */
export const RELAY_SERVED_TIMES = 2;
