#include "hpm/report/table_script.h"

#include "hpm/io/sha256.h"
#include "hpm/report/png.h"

namespace hpm {

const std::string& table_script() {
  static const std::string script = R"(
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0], rows = [...body.rows], titles = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column] ? row.cells[column].textContent.trim() : '';
    const number = text.replace(/\u2212/g, '-').replace(/[\u202f,]/g, '').match(/^[+-]?\d+(\.\d+)?/);
    return number ? Number(number[0]) : text;
  };
  const compare = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
  titles.forEach((title, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener('click', () => {
      const up = title.getAttribute('aria-sort') !== 'ascending';
      titles.forEach(other => other.removeAttribute('aria-sort'));
      title.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
      body.append(...rows);
    });
  });
  const label = document.createElement('label'), box = document.createElement('input');
  box.type = 'search';
  label.className = 'filter';
  label.append('Show rows with ', box);
  box.addEventListener('input', () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });
  table.before(label);
}
)";
  return script;
}

std::string table_script_policy() {
  const auto digits = sha256(std::string_view(table_script()));
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return "script-src 'sha256-" + base64(bytes) + "'";
}

}  // namespace hpm
