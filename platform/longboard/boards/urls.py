from django.urls import path

from longboard.boards import views

urlpatterns = [
    path("", views.home, name="home"),
    path("boards/", views.boards, name="boards"),
    path("boards/<str:suite>/", views.board, name="board"),
    path("boards/<str:suite>/cite/", views.cite, name="board-cite"),
    path("boards/<str:suite>/cite.<str:kind>", views.cite_file, name="board-cite-file"),
    path("embed/<str:suite>/", views.embed, name="board-embed"),
    path("badges/<str:suite>/<slug:system>.svg", views.badge, name="badge"),
    path("feeds/results.atom", views.feed, name="feed"),
    path("feeds/<slug:name>/results.atom", views.feed, name="suite-feed"),
    path("boards/<str:suite>/lengths/", views.lengths, name="board-lengths"),
    path("boards/<str:suite>/lengths/table.<str:kind>", views.lengths_table, name="lengths-table"),
    path("boards/<str:suite>/table.<str:kind>", views.board_table, name="board-table"),
    path("boards/<str:suite>/figure.json", views.board_figure, name="board-figure"),
    path("compare/", views.compare, name="compare"),
    path("compare/table.<str:kind>", views.compare_table, name="compare-table"),
    path("crossover/", views.crossover, name="overtaking"),
    path("systems/<slug:slug>/", views.system, name="system"),
    path("systems/<slug:slug>/table.<str:kind>", views.system_table, name="system-table"),
    path("export/measurements.<str:kind>", views.export, name="export"),
    path("plotly-<str:version>.min.js", views.plotly_script, name="plotly"),
    path("healthz", views.healthz, name="healthz"),
]
