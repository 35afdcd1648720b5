// Runs test files again and again, beside processes that each keep a core busy. A test whose result
// depends on timing fails sooner or later. Without a FILTER it runs the files that start threads or
// processes.
//
//   npm run test:repeat -- [--count 20] [--busy 1] [FILTER...]
//
// A FILTER is a part of a path, as vitest takes it. The script prints one line per run and a
// summary. Its exit code is 1 if any test failed in any run. The package has to be built.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';

/** Where the tests are that use threads or live processes. All other tests run on one thread. */
const THREADED = ['test/integration/', 'test/stress/', 'test/property/', 'test/unit/main/crew'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '20' },
    busy: { type: 'string', default: '1' },
  },
});
const count = numberOf('count', 1);
const filters = positionals.length === 0 ? THREADED : positionals;
const vitest = join(
  dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
  'vitest.mjs',
);
const folder = mkdtempSync(join(tmpdir(), 'mmdump-repeat-'));
const children = new Set();

function numberOf(name, least) {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= least) return value;
  process.stderr.write(`--${name} ${values[name]}: expected a whole number from ${least}\n`);
  process.exit(2);
}

function start(args, stdio) {
  const child = spawn(process.execPath, args, { stdio });
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}

/** Runs the files once. Returns the tests that failed, or why there is no report. */
async function runOnce(report) {
  const args = [vitest, 'run', ...filters, '--reporter=json', `--outputFile=${report}`];
  const child = start(args, ['ignore', 'ignore', 'pipe']);
  let complaints = '';
  child.stderr.on('data', (chunk) => {
    complaints += chunk;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  return failuresIn(report, code, complaints);
}

function failuresIn(report, code, complaints) {
  let results;
  try {
    results = JSON.parse(readFileSync(report, 'utf8'));
    rmSync(report);
  } catch {
    return { tests: 0, failures: [{ name: `vitest ended with ${code}`, message: complaints }] };
  }
  const failures = results.testResults.flatMap(({ name: file, assertionResults, message }) => {
    const place = relative(process.cwd(), file);
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    const named = failed.map(({ fullName, failureMessages }) => {
      return { name: `${place}: ${fullName}`, message: failureMessages.join('\n') };
    });
    return message && named.length === 0 ? [{ name: place, message }] : named;
  });
  if (code !== 0 && failures.length === 0) {
    failures.push({ name: `vitest ended with ${code}`, message: complaints });
  }
  return { tests: results.numPassedTests + results.numFailedTests, failures };
}

function summary(failed, runs) {
  process.stdout.write(`\n${runs} runs, ${failed.size} tests failed\n`);
  for (const [name, messages] of failed) {
    process.stdout.write(`\n${messages.length} of ${runs}  ${name}\n${messages[0]}\n`);
  }
}

function endChildren() {
  for (const child of children) child.kill('SIGKILL');
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    endChildren();
    rmSync(folder, { recursive: true, force: true });
    process.exit(130);
  });
}

const failed = new Map();
let runs = 0;
try {
  for (let busy = numberOf('busy', 0); busy > 0; busy--) start(['-e', 'for (;;);'], 'ignore');
  while (runs < count) {
    const begin = Date.now();
    const { tests, failures } = await runOnce(join(folder, `${runs}.json`));
    runs++;
    for (const { name, message } of failures) {
      failed.set(name, [...(failed.get(name) ?? []), message]);
    }
    const seconds = ((Date.now() - begin) / 1000).toFixed(0);
    process.stdout.write(`run ${runs}: ${tests} tests, ${failures.length} failed, ${seconds} s\n`);
    for (const { name, message } of failures) process.stdout.write(`  ${name}\n${message}\n`);
  }
} finally {
  endChildren();
  rmSync(folder, { recursive: true, force: true });
}
summary(failed, runs);
process.exitCode = failed.size === 0 ? 0 : 1;
