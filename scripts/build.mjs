// Builds dist from src. Each entry is one file, and code that several entries need lies in a few
// chunks beside main/index.js. How long a command takes to start depends on the number of files far
// more than on their length: with one file per module, 240 in all, it took twice as long, and 25
// chunks took a fifth more processor time than one file. Declarations stay one file per module.
import { chmodSync, cpSync, rmSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { build } from 'rolldown';
import { buildKernels } from './build-kernels.mjs';

const OUT = 'dist';
const input = {
  'main/index': 'src/main/index.ts',
  'main/cli/mmdump': 'src/main/cli/mmdump.ts',
  'main/cli/program': 'src/main/cli/program.ts', // tests run it in their own process
  'main/demo/demo': 'src/main/demo/demo.ts',
  'main/demo/target': 'src/main/demo/target.ts',
  'workers/tasks': 'src/workers/tasks.ts',
};
const common = {
  external: (id) => !id.startsWith('.') && !isAbsolute(id), // node: and packages
  platform: 'node',
};

/** The modules that are loaded with these, and not only when something is done. */
async function loadedWith(...paths) {
  const { output } = await build({ ...common, input: paths, write: false });
  const byName = new Map(output.map((chunk) => [chunk.fileName, chunk]));
  const found = new Set();
  const visit = (chunk) => {
    for (const id of chunk.moduleIds) found.add(id);
    for (const name of chunk.imports) if (byName.has(name)) visit(byName.get(name));
  };
  for (const chunk of output) if (chunk.isEntry) visit(chunk);
  return found;
}

/**
 * The chunks, each with the modules that no chunk above it has. `start` is all that the command line
 * loads before it knows what to do, `threads` starts threads before the rest is loaded, `shared` is
 * what the workers need, too.
 */
async function chunks() {
  const entries = new Set(Object.values(input).map((path) => resolve(path)));
  const [version, program, threads, tasks, main, commands] = await Promise.all([
    loadedWith(input['main/cli/mmdump']),
    loadedWith(input['main/cli/program']),
    loadedWith('src/main/cli/dump-threads.ts'),
    loadedWith(input['workers/tasks']),
    loadedWith(input['main/index']),
    loadedWith(
      ...['dump', 'inspect', 'verify', 'restore', 'report', 'search'].map(
        (name) => `src/main/cli/${name}-command.ts`,
      ),
    ),
  ]);
  const isStart = (id) =>
    version.has(id) || (program.has(id) && (main.has(id) || commands.has(id)));
  const groups = {
    start: isStart,
    threads: (id) => threads.has(id) && !tasks.has(id),
    shared: (id) => tasks.has(id) && (main.has(id) || commands.has(id)),
    main: (id) => main.has(id),
    commands: (id) => commands.has(id),
  };
  return Object.entries(groups).map(([name, has], index) => {
    return { name, test: (id) => has(id) && !entries.has(id), priority: 5 - index };
  });
}

/**
 * Escapes what is not ASCII, which stands in texts only once comments are gone. V8 keeps a file of
 * which one character is not ASCII in two bytes per character, and takes longer to read it.
 */
const ascii = {
  name: 'ascii',
  // Not renderChunk: what prints the code after that writes the characters again.
  generateBundle: (_options, bundle) => {
    const escaped = (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
    for (const chunk of Object.values(bundle)) {
      if (chunk.type === 'chunk') chunk.code = chunk.code.replace(/[^\0-\x7f]/g, escaped);
    }
  },
};

rmSync(OUT, { recursive: true, force: true }); // no file of an earlier build may be packed or run
await buildKernels('src/workers/kernels', `${OUT}/workers/kernels`);
await build({
  ...common,
  input,
  plugins: [ascii],
  output: {
    dir: OUT,
    format: 'esm',
    entryFileNames: '[name].js',
    // main/package/places.ts finds other files of dist from where its chunk lies.
    chunkFileNames: 'main/[name]-[hash].js',
    sourcemap: true, // has the sources with their comments
    comments: false, // a third of all bytes, which every thread would have to read
    // V8 folds a `const` into the loops that use it, and loads a `var` again each time.
    topLevelVar: false,
    codeSplitting: { groups: await chunks() },
  },
});

// npx runs the command of the package that it stands in as a program, without linking it first.
chmodSync(`${OUT}/main/cli/mmdump.js`, 0o755);

// The page of a report is one script, which runs in the browser, and one style.
await build({
  input: 'src/report/page.ts',
  platform: 'browser',
  output: { file: `${OUT}/report/page.js`, format: 'iife', minify: true },
});
cpSync('src/report/page.css', `${OUT}/report/page.css`);
