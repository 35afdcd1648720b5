/**
 * Undoes what must not outlive this process: a process that it has stopped, a temporary file. While
 * there is something to undo, this module listens to the 'exit' event and to the signals with which
 * people end programs. SIGKILL leaves no time to undo anything.
 */
/** The signals with which people end programs. */
export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

const pending = new Set<() => void>();

/**
 * Registers `undo` until the function that it returns is called.
 *
 * Preconditions: `undo` is synchronous and does not throw.
 */
export function guard(undo: () => void): () => void {
  if (pending.size === 0) listen();
  const entry = (): void => undo(); // an entry of its own: the same `undo` may be given twice
  pending.add(entry);
  return () => {
    if (pending.delete(entry) && pending.size === 0) ignore();
  };
}

function listen(): void {
  process.on('exit', undoPending);
  for (const name of ENDING_SIGNALS) process.on(name, onSignal);
}

function ignore(): void {
  process.off('exit', undoPending);
  for (const name of ENDING_SIGNALS) process.off(name, onSignal);
}

function undoPending(): void {
  for (const undo of pending) undo();
}

/**
 * If the program has a listener of its own, it decides what becomes of the signal: it may abort the
 * work, which undoes it, or exit, or go on. Otherwise the signal ends the process, as it would
 * without this listener.
 */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  undoPending();
  pending.clear();
  ignore();
  process.kill(process.pid, signal);
}
