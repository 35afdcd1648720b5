/**
 * What must be undone should this process end: a process that it has stopped, a temporary file. The
 * undoing is held ready only while there is something to undo, for `process.exit` and for the
 * signals that people end programs with. SIGKILL leaves no time for it.
 */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

const pending = new Set<() => void>();

/** Keeps `undo` (synchronous, must not throw) ready until the function that it returns is called. */
export function guard(undo: () => void): () => void {
  if (pending.size === 0) listen();
  const entry = (): void => undo(); // the same function may be given twice
  pending.add(entry);
  return () => {
    if (pending.delete(entry) && pending.size === 0) ignore();
  };
}

function listen(): void {
  process.on('exit', undoAll);
  for (const name of SIGNALS) process.on(name, onSignal);
}

function ignore(): void {
  process.off('exit', undoAll);
  for (const name of SIGNALS) process.off(name, onSignal);
}

function undoAll(): void {
  for (const undo of pending) undo();
}

/**
 * With a listener of its own the program decides what becomes of the signal: it may abort the work,
 * which undoes it, or exit, or go on. Without one the signal ends the process, as it would have if
 * nobody had listened here.
 */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  undoAll();
  pending.clear();
  ignore();
  process.kill(process.pid, signal);
}
