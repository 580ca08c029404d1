// The play page: rock, paper, scissors over a WebSocket, against the house (/solo) or another person (/duel).
//
// A move and its reply are one byte each; PROTOCOL.md, section 2, has the rules. `Game` is the client of one opponent,
// `Log` records what crosses its connections, and the functions at the end draw the page. The page is drawn again from
// this state at each change. Text is only ever set as text, never as HTML.
'use strict';

const MOVES = [
  { name: 'scissors', byte: 0x31, keys: ['1', 's'], beats: 'paper' },
  { name: 'rock', byte: 0x32, keys: ['2', 'r'], beats: 'scissors' },
  { name: 'paper', byte: 0x33, keys: ['3', 'p'], beats: 'rock' },
];
const OUTCOMES = { x: 'draw', y: 'win', z: 'lose', v: 'void' };

const MAX_PENDING = 64; // moves without a reply
const MAX_ROUNDS = 12; // rows of the history
const MAX_LOG_ROWS = 200;
const MAX_ANNOUNCEMENTS = 6;
const REPLY_TIMEOUT = 10; // seconds; a move in a duel has no limit here
const LATE_AFTER = 2; // seconds after the window, until a reply counts as late

const root = document.documentElement;
let windowSeconds = Number(root.dataset.window); // of a duel; a reload of the server's configuration can change it
const element = (id) => document.getElementById(id);
const moveButtons = element('moves').querySelectorAll('button');
const moveOf = (button) => MOVES.find(({ byte }) => byte === button.value.charCodeAt(0));

// --- Texts

const TEXTS = {
  en: {
    lang: 'en', other_language: '中文', other_lang: 'zh-CN',
    title: 'Rock, paper, scissors', game: 'Game', opponent: 'Play against', house: 'The house',
    person: 'Another person', you: 'You', solo: 'The house', duel: 'Other player', your_move: 'Your move',
    scissors: 'scissors', rock: 'rock', paper: 'paper',
    keys: 'The keys 1 2 3 and S R P play a move',
    alone: 'To try it alone, open this page in two windows and choose “Another person” in both.',
    score: 'Score', wins: 'Wins', draws: 'Draws', losses: 'Losses', voids: 'Void',
    rounds: 'Last rounds', no_rounds: 'No rounds yet.', round: 'Round', opponent_short: 'Opponent', outcome: 'Result',
    terminal: 'The same game in a terminal: cli-client rps play, or cli-client rps play --duel',

    choose: 'Choose your move', moved: (move) => `You play ${move}`,
    draw: 'Draw', win: 'You win', lose: 'You lose', void: 'Void',
    draw_short: 'draw', win_short: 'win', lose_short: 'lose', void_short: 'void',
    beats: (round, winner, loser) => `Round ${round}: ${winner} ${winner === 'scissors' ? 'beat' : 'beats'} ${loser}.`,
    both: (round, move) => `Round ${round}: both play ${move}.`,
    void_window: (round, seconds) => `Round ${round}: no other player moved within ${seconds} s. Either no other `
      + 'player is here, or your opponent left or did not move. The next opponent may be another player.',
    void_early: (round, seconds) => `Round ${round}: the server ended it after ${seconds} s. No other player moved.`,
    waiting_player: (seconds) => `Another player has ${seconds} s to move.`,
    countdown: (seconds) => `Waiting for the other player's move: ${seconds} s`,
    late: 'The reply is later than expected. To stop waiting, choose the house or reload the page.',

    idle: 'Not connected. Your first move connects.',
    connecting: 'Connecting …',
    open: 'Connected. The connection stays open between rounds.',
    again: 'Your next move connects again.',
    lost_move: 'Your last move has no outcome.',
    unsent_move: 'Your last move was not sent.',
    drain: 'The server is stopping and closed the connection.',
    idle_timeout: 'The server closed the connection, because it was idle for too long.',
    finished: 'The server closed the connection after too many invalid moves.',
    unknown: 'The other player\'s server did not answer, so the outcome of your move is unknown.',
    protocol: (code) => `The server closed the connection because of a protocol error (code ${code}).`,
    bad_reply: 'The server sent a reply that is not part of the game. The page closed the connection.',
    no_reply: 'The reply did not come in time. The page closed the connection.',
    lost: 'The connection was lost: the server or the network failed.',
    ended: (code) => `The server closed the connection (code ${code}).`,
    full: 'The server is full: it takes no more connections for now. Try again in a moment.',
    unreachable: 'The server cannot be reached. It is stopped or restarting, or the network failed.',
    not_accepted: 'The server runs, but did not accept the connection. Try again, or reload the page.',
    asking: 'The connection failed.',

    log: 'Bytes on the connection', log_caption: 'Messages and events, newest first; the last 200',
    log_note: 'Each move and each reply is one byte, in a binary WebSocket message. '
      + 'The connection stays open between rounds.',
    log_none: 'No connection yet.',
    log_open: (number, path, seconds, sent, received) =>
      `Connection ${number}, to ${path}: open for ${seconds} s, ${sent} bytes sent, ${received} received.`,
    log_closed: (number, path, seconds, sent, received) =>
      `Connection ${number}, to ${path}: closed after ${seconds} s, ${sent} bytes sent, ${received} received.`,
    time: 'Time', direction: 'Direction', hex: 'Hex', text: 'Text', meaning: 'Meaning', elapsed: 'Elapsed',
    sent: '→ sent', received: '← received', event: 'event',
    opening: (number, path) => `connection ${number}: opening ${path}`,
    opened: (number) => `connection ${number}: open`,
    failed: (number) => `connection ${number}: did not open`,
    closed: (number, code, reason) => `connection ${number}: closed, code ${code}${reason ? `, reason ${reason}` : ''}`,
    closed_here: (number) => `connection ${number}: closed by this page`,
    reply_after: (duration) => `reply after ${duration}`, later: (duration) => `+${duration}`,
    no_meaning: 'not part of the game',
  },
  zh: {
    lang: 'zh-CN', other_language: 'English', other_lang: 'en',
    title: '石头、剪刀、布', game: '游戏', opponent: '对手', house: '庄家', person: '另一位玩家',
    you: '你', solo: '庄家', duel: '对方', your_move: '出拳', scissors: '剪刀', rock: '石头', paper: '布',
    keys: '按键 1 2 3 和 S R P 可出拳（剪刀 石头 布）',
    alone: '一个人也能试：在两个窗口中打开本页，都选“另一位玩家”。',
    score: '比分', wins: '胜利', draws: '平局', losses: '失败', voids: '作废',
    rounds: '最近几局', no_rounds: '还没有对局。', round: '局', opponent_short: '对手', outcome: '结果',
    terminal: '在终端中玩：cli-client rps play，或 cli-client rps play --duel',

    choose: '请出拳', moved: (move) => `你出${move}`,
    draw: '平局', win: '胜利', lose: '失败', void: '作废',
    draw_short: '平局', win_short: '胜利', lose_short: '失败', void_short: '作废',
    beats: (round, winner, loser) => `第 ${round} 局：${winner}胜${loser}。`,
    both: (round, move) => `第 ${round} 局：双方都出${move}。`,
    void_window: (round, seconds) => `第 ${round} 局：${seconds} 秒内没有别的玩家出拳。可能没有别的玩家在，`
      + '或者对手已离开或没有出拳。下一局的对手可能换人。',
    void_early: (round, seconds) => `第 ${round} 局：服务器在 ${seconds} 秒后结束了这一局，没有别的玩家出拳。`,
    waiting_player: (seconds) => `别的玩家有 ${seconds} 秒可以出拳。`,
    countdown: (seconds) => `等待对方出拳：${seconds} 秒`,
    late: '应答比预计的晚。若不想再等，请选庄家或刷新本页。',

    idle: '未连接。出第一拳时会连接。',
    connecting: '正在连接……',
    open: '已连接。两局之间连接保持打开。',
    again: '出下一拳时会重新连接。',
    lost_move: '你最后一拳没有结果。',
    unsent_move: '你最后一拳没有发出。',
    drain: '服务器正在停止，关闭了连接。',
    idle_timeout: '连接空闲太久，服务器关闭了它。',
    finished: '无效的出拳太多，服务器关闭了连接。',
    unknown: '对方的服务器没有应答，这一拳的结果未知。',
    protocol: (code) => `因协议错误，服务器关闭了连接（代码 ${code}）。`,
    bad_reply: '服务器的应答不属于这个游戏，本页关闭了连接。',
    no_reply: '应答没有及时到达，本页关闭了连接。',
    lost: '连接中断：服务器或网络出了故障。',
    ended: (code) => `服务器关闭了连接（代码 ${code}）。`,
    full: '服务器已满，暂时不接受新连接。请稍后再试。',
    unreachable: '无法连接服务器：它已停止、正在重启，或网络有故障。',
    not_accepted: '服务器在运行，但没有接受这个连接。请再试一次，或刷新本页。',
    asking: '连接失败。',

    log: '连接上的字节', log_caption: '消息和事件，最新的在前，最多 200 行',
    log_note: '每一拳和每个应答都是一个字节，放在二进制 WebSocket 消息中。两局之间连接保持打开。',
    log_none: '还没有连接。',
    log_open: (number, path, seconds, sent, received) =>
      `连接 ${number}（${path}）：已打开 ${seconds} 秒，发送 ${sent} 字节，收到 ${received} 字节。`,
    log_closed: (number, path, seconds, sent, received) =>
      `连接 ${number}（${path}）：${seconds} 秒后关闭，发送 ${sent} 字节，收到 ${received} 字节。`,
    time: '时间', direction: '方向', hex: '十六进制', text: '文本', meaning: '含义', elapsed: '用时',
    sent: '→ 发送', received: '← 收到', event: '事件',
    opening: (number, path) => `连接 ${number}：正在打开 ${path}`,
    opened: (number) => `连接 ${number}：已打开`,
    failed: (number) => `连接 ${number}：未能打开`,
    closed: (number, code, reason) => `连接 ${number}：已关闭，代码 ${code}${reason ? `，原因 ${reason}` : ''}`,
    closed_here: (number) => `连接 ${number}：由本页关闭`,
    reply_after: (duration) => `${duration} 后应答`, later: (duration) => `+${duration}`,
    no_meaning: '不属于这个游戏',
  },
};

let texts = TEXTS[/^zh\b/i.test(navigator.language) ? 'zh' : 'en'];

// Returns the text of a message: [key, argument...]. An argument that is the name of a move becomes its text.
function say([key, ...values]) {
  const text = texts[key];
  const isMove = (value) => MOVES.some(({ name }) => name === value);
  return typeof text === 'function' ? text(...values.map((value) => isMove(value) ? texts[value] : value)) : text;
}

// Lets a screen reader say the messages. Each one is a new element, so that equal texts are said again.
function announce(...messages) {
  const region = element('announcements');
  for (const message of messages) {
    const text = document.createElement('p');
    text.textContent = say(message);
    region.append(text);
    if (region.childElementCount > MAX_ANNOUNCEMENTS) region.firstElementChild.remove();
  }
}

// --- The log of what crosses the connections

const log = {
  rows: [], // newest first
  previous: undefined, // time of the newest row

  // `bytes` is empty for an event; `message` says what the row means.
  add(kind, bytes, message, replyAfter) {
    const now = performance.now();
    const since = this.previous === undefined ? undefined : now - this.previous;
    this.previous = now;
    this.rows.unshift({ kind, bytes, message, replyAfter, since, time: new Date() });
    element('log-rows').prepend(logRow(this.rows[0]));
    this.rows.splice(MAX_LOG_ROWS);
    while (element('log-rows').rows.length > MAX_LOG_ROWS) element('log-rows').lastElementChild.remove();
  },
};

// --- A game against one opponent

let connections = 0; // number of connections of this page so far

class Game {
  constructor(kind) {
    this.kind = kind;
    this.connection = undefined; // the WebSocket, unless closed
    this.last = undefined; // figures of the newest connection: number, opened, closed, sent, received
    this.state = [['idle']]; // messages about the connection
    // Moves without a reply, oldest first: { move, sentAt, isLate }. sentAt is undefined until it is sent.
    this.pending = [];
    this.timer = undefined; // limit of the wait for the oldest of them
    this.isWindowKnown = false; // whether windowSeconds needs no request
    this.round = 0;
    this.rounds = []; // newest first: { round, mine, theirs, outcome }
    this.score = { win: 0, draw: 0, lose: 0, void: 0 };
    this.shown = { outcome: ['choose'] }; // the hands and the text: { mine, theirs, outcome, detail, result }
  }

  // In a duel, a move waits for another player, so one is in play at a time.
  get waits() {
    return this.pending.length >= (this.kind === 'duel' ? 1 : MAX_PENDING);
  }

  play(move) {
    if (this.waits) return;
    this.pending.push({ move, sentAt: undefined });
    if (!this.connection) this.connect();
    else if (this.connection.readyState === WebSocket.OPEN) this.send();
    // The house replies at once, so a text would only flicker.
    this.shown = { mine: move, outcome: this.kind === 'duel' ? ['moved', move.name] : undefined };
    if (this.kind === 'duel') announce(this.shown.outcome, ['waiting_player', windowSeconds]);
    if (this.pending.length === 1) this.startTimer();
    draw();
  }

  connect() {
    const number = ++connections;
    const path = `/${this.kind}`;
    const connection = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`);
    connection.binaryType = 'arraybuffer';
    this.connection = connection;
    this.last = { number, path, opened: undefined, closed: undefined, sent: 0, received: 0 };
    this.state = [['connecting']];
    this.isWindowKnown = false;
    log.add('event', [], ['opening', number, path]);
    connection.onopen = () => {
      if (this.connection !== connection) return;
      this.last.opened = performance.now();
      this.state = [['open']];
      log.add('event', [], ['opened', number]);
      this.send();
      draw();
    };
    connection.onmessage = ({ data }) => {
      if (this.connection === connection) this.receive(data);
    };
    connection.onclose = ({ code, reason }) => {
      if (this.connection !== connection) return;
      const opened = this.last.opened !== undefined;
      log.add('event', [], opened ? ['closed', number, code, reason] : ['failed', number]);
      const lost = this.lostMove;
      this.end(opened ? closeMessage(code, reason) : ['asking']);
      if (!opened) this.explainFailure(number, lost);
    };
  }

  // Sends the moves that are not sent yet, in one message.
  send() {
    const unsent = this.pending.filter((move) => move.sentAt === undefined);
    if (!unsent.length) return;
    const bytes = unsent.map(({ move }) => move.byte);
    this.connection.send(new Uint8Array(bytes));
    this.last.sent += bytes.length;
    for (const move of unsent) move.sentAt = performance.now();
    log.add('sent', bytes, unsent.map(({ move }) => move.name));
    if (this.kind === 'duel' && !this.isWindowKnown) this.readWindow();
  }

  // Reads the window from a new copy of the page. Without one, the old value stays.
  async readWindow() {
    this.isWindowKnown = true;
    try {
      const response = await fetch('/', { cache: 'no-store', signal: AbortSignal.timeout(REPLY_TIMEOUT * 1000) });
      const [, seconds] = (await response.text()).match(/ data-window="([\d.]+)"/) || [];
      if (response.ok && seconds) windowSeconds = Number(seconds);
    } catch {
      // The countdown is only an estimate.
    }
    draw();
  }

  receive(data) {
    const bytes = data instanceof ArrayBuffer ? [...new Uint8Array(data)] : [];
    const now = performance.now();
    const oldest = this.pending[0];
    this.last.received += bytes.length;
    const outcomes = bytes.map((byte) => OUTCOMES[String.fromCharCode(byte)]);
    const sentAt = oldest && oldest.sentAt;
    log.add('received', bytes, outcomes.map((outcome) => outcome ? `${outcome}_short` : 'no_meaning'),
      sentAt === undefined ? undefined : now - sentAt);
    if (bytes.length === 0 || !outcomes.every((outcome) => this.judge(outcome, now))) this.abandon(['bad_reply']);
    draw();
  }

  // Ends the round of the oldest move. Returns false if the reply is invalid.
  judge(outcome, now) {
    const [oldest] = this.pending;
    if (!outcome || !oldest || oldest.sentAt === undefined) return false;
    this.pending.shift();
    this.startTimer();
    const { move: mine, sentAt } = oldest;
    const theirs = opponentMove(mine, outcome);
    const round = ++this.round;
    this.score[outcome] += 1;
    this.rounds.unshift({ round, mine, theirs, outcome });
    this.rounds.splice(MAX_ROUNDS);
    let detail;
    if (outcome === 'void') {
      const seconds = Number(((now - sentAt) / 1000).toFixed(1));
      const isEarly = seconds < windowSeconds * 0.9;
      if (isEarly) this.isWindowKnown = false;
      detail = [isEarly ? 'void_early' : 'void_window', round, isEarly || oldest.isLate ? seconds : windowSeconds];
    } else if (outcome === 'draw') {
      detail = ['both', round, mine.name];
    } else {
      const [winner, loser] = outcome === 'win' ? [mine, theirs] : [theirs, mine];
      detail = ['beats', round, winner.name, loser.name];
    }
    this.shown = { mine, theirs, outcome: [outcome], detail, result: outcome };
    announce([outcome], detail);
    return true;
  }

  // The message about moves without a reply, if the connection ends now.
  get lostMove() {
    if (!this.pending.length) return undefined;
    return this.pending.some((move) => move.sentAt !== undefined) ? 'lost_move' : 'unsent_move';
  }

  // The connection is closed. Moves without a reply have no outcome.
  end(reason) {
    this.connection = undefined;
    if (this.last.opened !== undefined) this.last.closed = performance.now();
    // Without a reason, the player has ended the game.
    if (reason) this.setClosed(reason, this.lostMove);
    else this.state = [['idle']];
    if (this.pending.length) this.shown = { outcome: ['choose'] };
    this.pending = [];
    this.startTimer();
    draw();
  }

  setClosed(reason, lost) {
    this.state = [reason, ...(lost && reason[0] !== 'unknown' ? [[lost]] : []), ['again']];
    if (reason[0] !== 'asking' && this === game) announce(...this.state);
  }

  // Closes the connection from this side. `reason` is undefined if the player did it.
  abandon(reason) {
    if (!this.connection) return;
    const { connection, last } = this;
    this.end(reason);
    connection.close();
    log.add('event', [], ['closed_here', last.number]);
  }

  // A WebSocket that does not open has no reason, so ask the server with a plain request.
  async explainFailure(number, lost) {
    let reason = ['unreachable'];
    try {
      const signal = AbortSignal.timeout(REPLY_TIMEOUT * 1000);
      const response = await fetch('/', { method: 'HEAD', cache: 'no-store', signal });
      reason = [response.status === 503 ? 'full' : 'not_accepted'];
    } catch {
      // No response: unreachable.
    }
    if (this.connection || this.last.number !== number) return;
    this.setClosed(reason, lost);
    draw();
  }

  // Starts or stops the limit of the wait for the oldest move.
  startTimer() {
    clearTimeout(this.timer);
    if (!this.pending.length) return;
    this.timer = setTimeout(() => {
      if (this.last.opened === undefined) this.abandon(['unreachable']);
      // Only the server ends the round of a duel: the page does not know the window for certain.
      else if (this.kind === 'solo') this.abandon(['no_reply']);
    }, REPLY_TIMEOUT * 1000);
  }

  // Seconds that the move in play still has, negative after the window, or undefined without a move.
  secondsLeft() {
    const [oldest] = this.pending;
    if (this.kind !== 'duel' || !oldest || oldest.sentAt === undefined) return undefined;
    return windowSeconds - (performance.now() - oldest.sentAt) / 1000;
  }

  // Announces once that the reply to the move in play is late.
  announceLateReply() {
    const [oldest] = this.pending;
    if (!oldest || oldest.isLate || !(this.secondsLeft() < -LATE_AFTER)) return;
    oldest.isLate = true;
    this.isWindowKnown = false;
    announce(['late']);
  }
}

// The outcome and the own move determine the opponent's move.
function opponentMove(mine, outcome) {
  switch (outcome) {
    case 'draw': return mine;
    case 'win': return MOVES.find((move) => move.name === mine.beats);
    case 'lose': return MOVES.find((move) => move.beats === mine.name);
    default: return undefined;
  }
}

function closeMessage(code, reason) {
  switch (code) {
    case 1000: return reason === 'idle_timeout' ? ['idle_timeout'] : ['ended', code];
    case 1001: return ['drain'];
    case 1002: case 1003: case 1007: case 1009: return ['protocol', code];
    case 1006: return ['lost'];
    case 1008: return reason === 'finished' ? ['finished'] : ['ended', code];
    case 1011: return ['unknown'];
    default: return ['ended', code];
  }
}

// --- Drawing

const games = [new Game('solo'), new Game('duel')];
let game = games[0];

// Writes only a change, so that a screen reader does not repeat what is there.
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function draw() {
  const { mine, theirs, outcome, detail, result } = game.shown;
  drawHand(element('mine'), 'you', mine, result === 'win');
  drawHand(element('theirs'), game.kind, theirs, result === 'lose');
  setText(element('outcome'), outcome ? say(outcome) : '');
  element('outcome').className = result || '';
  setText(element('detail'), detail ? say(detail) : '');
  setText(element('connection'), game.state.map(say).join(texts === TEXTS.en ? ' ' : ''));
  // A connection that is closed has more than one message.
  element('connection').className = game.state.length > 1 ? 'closed' : game.state[0][0];
  for (const button of moveButtons) button.setAttribute('aria-disabled', String(game.waits));
  element('alone').hidden = element('void-score').hidden = game.kind !== 'duel';
  for (const [name, count] of Object.entries(game.score)) setText(element(name), String(count));
  drawRounds();
  drawCountdown();
  drawLogSummary();
}

function drawHand(figure, owner, move, wins) {
  setText(figure.querySelector('figcaption'), texts[owner]);
  figure.querySelector('use').setAttribute('href', `#draw-${move ? move.name : 'none'}`);
  setText(figure.querySelector('p'), move ? texts[move.name] : '');
  figure.classList.toggle('winner', wins);
}

function cell(text, className) {
  const td = document.createElement('td');
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function row(...cells) {
  const tr = document.createElement('tr');
  tr.append(...cells);
  return tr;
}

function drawRounds() {
  element('rounds').hidden = game.rounds.length === 0;
  element('no-rounds').hidden = game.rounds.length > 0;
  element('rounds').tBodies[0].replaceChildren(...game.rounds.map(({ round, mine, theirs, outcome }) => row(
    cell(String(round), 'number'), cell(texts[mine.name]), cell(theirs ? texts[theirs.name] : '–'),
    cell(texts[`${outcome}_short`], outcome),
  )));
}

function drawCountdown() {
  const left = game.secondsLeft();
  element('waiting').hidden = left === undefined;
  if (left === undefined) return;
  setText(element('countdown'), say(left < -LATE_AFTER ? ['late'] : ['countdown', Math.max(0, Math.ceil(left))]));
  element('bar').max = windowSeconds;
  element('bar').value = Math.max(0, left);
}

function drawLogSummary() {
  const { last } = game;
  if (!last || last.opened === undefined) {
    setText(element('log-summary'), texts.log_none);
    return;
  }
  const seconds = Math.floor(((last.closed || performance.now()) - last.opened) / 1000);
  const key = last.closed ? 'log_closed' : 'log_open';
  setText(element('log-summary'), say([key, last.number, last.path, seconds, last.sent, last.received]));
}

function logRow({ kind, bytes, message, replyAfter, since, time }) {
  let elapsed = '';
  if (replyAfter !== undefined) elapsed = say(['reply_after', duration(replyAfter)]);
  else if (since !== undefined) elapsed = say(['later', duration(since)]);
  const tr = row(cell(clock(time)), cell(texts[kind]));
  if (kind === 'event') {
    tr.append(cell(say(message)));
    tr.lastChild.colSpan = 3;
  } else {
    const printable = (byte) => byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
    tr.append(
      cell(bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' '), 'bytes'),
      cell(bytes.map(printable).join(''), 'bytes'),
      cell(message.map((key) => texts[key]).join(', ')),
    );
  }
  tr.append(cell(elapsed, 'number'));
  tr.className = kind;
  return tr;
}

// Formats a time of day, with milliseconds.
function clock(time) {
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()];
  const seconds = parts.map((part) => String(part).padStart(2, '0')).join(':');
  return `${seconds}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

function duration(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 10_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function drawShortcuts() {
  for (const button of moveButtons) {
    if (element('keys').checked) button.setAttribute('aria-keyshortcuts', moveOf(button).keys.join(' ').toUpperCase());
    else button.removeAttribute('aria-keyshortcuts');
  }
}

function drawTexts() {
  root.lang = texts.lang;
  document.title = texts.title;
  for (const target of document.querySelectorAll('[data-text]')) setText(target, texts[target.dataset.text]);
  setText(element('language'), texts.other_language);
  element('language').lang = texts.other_lang;
  element('log-rows').replaceChildren(...log.rows.map(logRow));
  draw();
}

// --- Input

function choose(kind) {
  const chosen = games.find((candidate) => candidate.kind === kind);
  if (chosen === game) return;
  game.abandon();
  game = chosen;
  draw();
}

element('language').onclick = () => {
  texts = texts === TEXTS.en ? TEXTS.zh : TEXTS.en;
  drawTexts();
};

for (const button of moveButtons) button.onclick = () => game.play(moveOf(button));
for (const radio of document.querySelectorAll('#opponents input')) {
  radio.checked = radio.value === game.kind; // a browser may have restored the previous choice
  radio.onchange = () => choose(radio.value);
}
element('keys').onchange = drawShortcuts;
document.onkeydown = (event) => {
  if (!element('keys').checked || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES.find(({ keys }) => keys.includes(event.key.toLowerCase()));
  if (move) game.play(move);
};
setInterval(() => {
  game.announceLateReply();
  drawCountdown();
  if (element('log').open) drawLogSummary();
}, matchMedia('(prefers-reduced-motion: reduce)').matches ? 1000 : 250);
element('page').hidden = false;
drawShortcuts();
drawTexts();
