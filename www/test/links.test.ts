import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostOf, safeLink } from '../src/markdown/links.ts';

test('ordinary links are kept', () => {
  assert.equal(safeLink('https://example.org/a?b=c#d'), 'https://example.org/a?b=c#d');
  assert.equal(safeLink('http://example.org'), 'http://example.org/');
  assert.equal(safeLink('mailto:a@example.org'), 'mailto:a@example.org');
  assert.equal(hostOf('https://example.org:8443/x'), 'example.org:8443');
});

test('everything else is refused', () => {
  const bad = [
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    'java\nscript:alert(1)',
    ' javascript:alert(1)',
    '\u0001javascript:alert(1)',
    'data:text/html,<script>alert(1)</script>',
    'vbscript:x',
    'blob:https://example.org/1',
    'file:///etc/passwd',
    'ftp://example.org',
    '//example.org',
    '/relative',
    '#hash',
    '',
    'https://bank.example@evil.example/',
    'https://example.org/\u202Egnp.exe',
  ];
  for (const href of bad) assert.equal(safeLink(href), null, JSON.stringify(href));
});
