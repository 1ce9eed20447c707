// The style sheet: one set of variables, light and dark, that page and charts share.
#include "hpm/report/html.h"

namespace hpm {
namespace {

constexpr const char* kLight = R"(color-scheme:light dark;--paper:#fdfcf9;--panel:#f5f3ed;--ink:#1e2227;--soft:#606a75;
--line:#dfdbd1;--base:#8a929c;--control:#c4701b;--l2:#3c8f7e;--hpm:#2557a7;--other:#7b5ea7;
--olive:#6f7412;--rose:#a8447f;--good:#2c7a4b;--bad:#b3362b;--warn:#93650a)";

constexpr const char* kDark = R"(--paper:#15181c;--panel:#1d2127;--ink:#e7e6e2;--soft:#9ba4ae;
--line:#30363e;--base:#8a939e;--control:#e8994a;--l2:#67bfab;--hpm:#7caaf2;--other:#b79be0;
--olive:#bcc25a;--rose:#e58fc4;--good:#6dc28c;--bad:#f0887c;--warn:#e0b04e)";

constexpr const char* kChart = R"(.chart{display:block;width:100%;height:auto;overflow:visible}
.chart text{font:12.5px/1 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--ink);
font-variant-numeric:tabular-nums}
.chart text.soft{fill:var(--soft)}
.chart text.strong{font-weight:600}
.chart text.small{font-size:11px}
.chart text.named{fill:var(--c)}
.chart text.on{fill:var(--paper)}
.t-base{--c:var(--base)}.t-control{--c:var(--control)}.t-l2{--c:var(--l2)}.t-hpm{--c:var(--hpm)}
.t-other{--c:var(--other)}.t-bad{--c:var(--bad)}
.t-1{--c:var(--hpm)}.t-2{--c:var(--control)}.t-3{--c:var(--l2)}.t-4{--c:var(--other)}.t-5{--c:var(--bad)}
.t-6{--c:var(--olive)}.t-7{--c:var(--rose)}.t-8{--c:var(--ink)}
.fill{fill:var(--c)}.pale{fill:var(--c);fill-opacity:.28}.faint{fill:var(--c);fill-opacity:.12}
.stroke{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.area{fill:var(--c);fill-opacity:.14}
.point{fill:var(--c);fill-opacity:.5}
.hair{fill:none;stroke:var(--c);stroke-width:1;stroke-opacity:.4}
.front{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 4}
.whisker{stroke:var(--ink);stroke-width:1.4}
.interval{stroke:var(--c);stroke-width:2.4;stroke-linecap:round}
.ring{fill:var(--paper);stroke:var(--c);stroke-width:2}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.zero{stroke:var(--ink);stroke-width:1.2}
.band{fill:var(--soft);fill-opacity:.11}
.marker{stroke:var(--control);stroke-width:2.4}
.cell{stroke:var(--paper);stroke-width:1}
.o0{fill-opacity:.04}.o1{fill-opacity:.12}.o2{fill-opacity:.2}.o3{fill-opacity:.3}.o4{fill-opacity:.4}
.o5{fill-opacity:.5}
.o6{fill-opacity:.6}.o7{fill-opacity:.7}.o8{fill-opacity:.8}.o9{fill-opacity:.9}.o10{fill-opacity:1}
)";

constexpr const char* kPage = R"(*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:2.2rem 1.4rem 4rem;max-width:56rem;background:var(--paper);color:var(--ink);
font:1.02rem/1.6 Charter,"Bitstream Charter","Sitka Text",Cambria,Georgia,"DejaVu Serif",serif;overflow-wrap:break-word}
h1,h2,h3,table,figcaption,.tiles,.chip,.meta,nav,summary,.key,.note,.named-runs,.filter{
font-family:system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.05rem;font-weight:600;margin:0;letter-spacing:.01em}
h2{font-size:1.2rem;font-weight:650;margin:3.2rem 0 .4rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;font-weight:650;margin:1.8rem 0 .3rem}
p{margin:.5rem 0 .9rem;max-width:42rem}
a{color:var(--hpm)}
.meta{color:var(--soft);font-size:.86rem;margin:.15rem 0 0}
nav{font-size:.86rem;margin:1.6rem 0 0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}
nav a{text-decoration:none;padding:.25rem 0;min-width:0;overflow-wrap:anywhere}nav a:hover{text-decoration:underline}
.verdict{margin:1.6rem 0 0;padding:1.3rem 1.5rem 1.1rem;background:var(--panel);border-left:5px solid var(--tone);
border-radius:3px}
.verdict .say{font-size:1.42rem;line-height:1.38;margin:.5rem 0 .3rem;max-width:none;text-wrap:pretty}
.verdict ul{margin:.9rem 0 .2rem;padding-left:1.1rem}.verdict li{margin:.28rem 0;max-width:44rem}
.verdict li::marker{color:var(--soft)}
.is-gain{--tone:var(--good)}.is-loss,.is-suspect{--tone:var(--bad)}.is-no-difference{--tone:var(--soft)}
.is-no-control,.is-no-attack{--tone:var(--warn)}
.chip{display:inline-block;font-size:.74rem;font-weight:650;letter-spacing:.02em;padding:.1rem .5rem;border-radius:1rem;
border:1px solid var(--tone);color:var(--tone);white-space:nowrap}
.s-passed{--tone:var(--good)}.s-failed{--tone:var(--bad)}.s-reported,.s-other{--tone:var(--warn)}
.s-not-run{--tone:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.9rem 1.6rem;margin:1.1rem 0 .4rem}
.tiles div{min-width:0;border-top:2px solid var(--c,var(--line));padding-top:.35rem}
.tiles b{display:block;font-size:1.75rem;line-height:1.2;font-weight:600;font-variant-numeric:tabular-nums;
letter-spacing:-.01em}
.tiles span{display:block;color:var(--soft);font-size:.8rem;line-height:1.4;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;margin:1rem 0 1.4rem;font-size:.9rem;line-height:1.4;
font-variant-numeric:tabular-nums}
caption{caption-side:bottom;text-align:left;color:var(--soft);font-size:.82rem;padding-top:.5rem}
th,td{text-align:left;vertical-align:top;padding:.42rem .8rem .42rem 0;border-bottom:1px solid var(--line)}
thead th{font-size:.78rem;font-weight:600;color:var(--soft);vertical-align:bottom}
thead button{all:unset;cursor:pointer}thead button:hover{color:var(--ink)}
thead button:focus-visible{outline:2px solid var(--hpm);outline-offset:2px}
[aria-sort=ascending] button::after{content:" \2191"}[aria-sort=descending] button::after{content:" \2193"}
.sortable thead th{position:sticky;top:0;background:var(--paper);white-space:normal}.sortable tbody th,.runs tbody th{overflow-wrap:anywhere}
.sortable tbody th a{color:inherit;text-decoration-color:var(--line)}
tr[hidden]{display:none!important}
.filter{display:block;margin:1rem 0 0;font-size:.82rem;color:var(--soft)}
.filter input{font:inherit;color:var(--ink);background:var(--paper);border:1px solid var(--line);border-radius:3px;padding:.15rem .4rem}
tbody th{font-weight:600}
.num{text-align:right;white-space:nowrap}
.pairs td{overflow-wrap:anywhere}.pairs thead{display:none}
.pairs th{white-space:nowrap;width:1%;padding-right:2rem}
th:last-child,td:last-child{padding-right:0}
tr.mine th,tr.mine td{background:var(--panel)}
tr.mine th:first-child{padding-left:.5rem}tr.mine td:last-child{padding-right:.5rem}
td small,th small{display:block;color:var(--soft);font-weight:400;font-size:.8rem}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.82rem;color:var(--soft);margin:.6rem 0 0}
.key span{min-width:0;overflow-wrap:anywhere}
.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.4rem;vertical-align:-.06rem;
background:var(--c)}
.key i.pale{opacity:.3}
.dot{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;background:var(--c);margin-right:.45rem}
figure{margin:1.2rem 0 1.6rem}
figcaption{color:var(--soft);font-size:.82rem;line-height:1.45;margin-top:.6rem;max-width:46rem}
.note{font-size:.88rem;color:var(--soft);line-height:1.5}
.alert{border-left:3px solid var(--warn);padding-left:.8rem}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(19.5rem,1fr));
gap:1.3rem 1.6rem;padding:0;margin:1rem 0}
.gallery figure{margin:0;break-inside:avoid}
.triple{display:grid;grid-template-columns:repeat(3,1fr);gap:.4rem}
.triple img{width:100%;height:auto;display:block;image-rendering:pixelated;border-radius:2px;background:var(--panel)}
.gallery figcaption{margin-top:.35rem;color:var(--ink);font-size:.84rem}
.gallery figcaption small{color:var(--soft);display:block;font-size:.78rem}
.kept{display:grid;grid-template-columns:repeat(auto-fill,minmax(5.6rem,1fr));gap:.9rem 1rem;margin:.6rem 0 1rem}
.kept figure{margin:0;break-inside:avoid}
.kept img{width:100%;height:auto;display:block;image-rendering:pixelated;border-radius:2px;background:var(--panel)}
.kept figcaption{margin-top:.25rem;font-size:.8rem;line-height:1.35}
.kept figcaption small{display:block;color:var(--soft);font-size:.74rem}
.held{color:var(--good)}.broken{color:var(--bad)}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.82rem}
pre{background:var(--panel);padding:.8rem 1rem;border-radius:3px;white-space:pre-wrap;
line-height:1.5;margin:.6rem 0 1rem}
details{margin:.5rem 0}summary{cursor:pointer;font-size:.92rem;padding:.3rem 0;font-weight:600}
dl{margin:.4rem 0 1rem;font-size:.92rem;display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem}
dt{font-weight:600}dd{margin:0}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.8rem}
details details{margin-left:1rem}
details.run{margin:0;border-top:1px solid var(--line)}
summary small{color:var(--soft);font-weight:400;margin-left:.5rem;font-variant-numeric:tabular-nums}
.named-runs{margin:.6rem 0 0;padding-left:2rem;font-size:.88rem}.named-runs small{color:var(--soft);margin-left:.4rem}
.narrow{display:none}
@media (max-width:760px){.sortable .num small{white-space:normal}}
@media (max-width:640px){
body{padding:1.2rem 12px 3rem;font-size:1rem}
.wide{display:none}.narrow{display:block}
.verdict{padding:1rem 1rem .8rem}.verdict .say{font-size:1.18rem}
.tiles{grid-template-columns:1fr 1fr}.tiles b{font-size:1.4rem}
.gallery{grid-template-columns:1fr}
table{display:flex;flex-direction:column}tbody,tr,caption{display:block}caption{order:2}thead{display:none}
tbody tr{padding:.6rem 0;border-bottom:1px solid var(--line)}
tbody th,tbody td{display:block;border:0;padding:.1rem 0;text-align:left}
tbody td{display:flex;justify-content:space-between;gap:1rem}
tbody td::before{content:attr(data-label);color:var(--soft);font-size:.82rem;flex:0 0 auto;max-width:48%}
tbody td span{text-align:right;overflow-wrap:anywhere;min-width:0}
.pairs th{width:auto}
tr.mine{padding-left:.6rem;padding-right:.6rem;background:var(--panel)}tr.mine th,tr.mine td{background:none}
tr.mine th:first-child{padding-left:0}tr.mine td:last-child{padding-right:0}
}
@media print{
:root{color-scheme:light}
body{max-width:none;padding:0;font-size:10pt}nav,.filter{display:none}
h2{break-after:avoid}figure,.verdict,tr{break-inside:avoid}
details:not(.run)::details-content{content-visibility:visible;display:block;height:auto}
.sortable thead th{position:static}
}
)";

}  // namespace

std::string chart_style() { return fmt::format(":root{{{}}}\n{}", kLight, kChart); }

std::string page_style() {
  return fmt::format("{}@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n{}", chart_style(), kDark, kPage);
}

}  // namespace hpm
